// Runs test/browser/levels-and-quality.test.ts, including the case in which users join and leave.
process.env.ALL_CASES = 'true'
await import('./levels-and-quality.test.ts')
