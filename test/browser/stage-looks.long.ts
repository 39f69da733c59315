// Runs test/browser/stage-looks.test.ts at every width in every color scheme.
process.env.ALL_LOOKS = 'true'
await import('./stage-looks.test.ts')
