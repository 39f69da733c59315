// Runs test/browser/levels-and-quality.test.ts with users who join and leave later.
process.env.ALL_CASES = 'true'
await import('./levels-and-quality.test.ts')
