// Runs test/contract/crowd.test.ts with 500 clients.
process.env.CROWD = '500'
await import('./crowd.test.ts')
