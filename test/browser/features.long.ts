// Runs test/browser/features.test.ts, but disables and enables media ten times in a row during the call.
process.env.ROUNDS = '10'
await import('./features.test.ts')
