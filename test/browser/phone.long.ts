// Runs test/browser/phone.test.ts in portrait and landscape.
process.env.ALL_LOOKS = 'true'
await import('./phone.test.ts')
