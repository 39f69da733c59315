// Disables and enables media ten times in a row during the call of test/browser/features.test.ts.
process.env.ROUNDS = '10'
await import('./features.test.ts')
