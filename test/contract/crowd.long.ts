// Runs test/contract/crowd.test.ts with as many clients as a big room has.
process.env.CROWD = '500'
await import('./crowd.test.ts')
