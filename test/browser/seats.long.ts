// Runs test/browser/seats.test.ts with every kind of seat change while audio is being set up.
process.env.ALL_CHANGES = 'true'
await import('./seats.test.ts')
