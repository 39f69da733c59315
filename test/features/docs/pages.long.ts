// Runs test/features/docs/pages.test.ts at every width in every colour scheme.
process.env.ALL_LOOKS = 'true'
await import('./pages.test.ts')
