// Runs test/contract/crowd.test.ts with as many clients as in a big room.
process.env.CROWD = '500'
await import('./crowd.test.ts')
