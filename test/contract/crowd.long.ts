// test/contract/crowd.test.ts, with as many as a big room has.
process.env.CROWD = '500'
await import('./crowd.test.ts')
