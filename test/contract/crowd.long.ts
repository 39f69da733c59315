// Runs test/contract/crowd.test.ts with the number of clients of a big room.
process.env.CROWD = '500'
await import('./crowd.test.ts')
