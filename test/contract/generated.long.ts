// Runs test/contract/generated.test.ts with many more requests of each type.
process.env.CONTRACT_RUNS = '30'
await import('./generated.test.ts')
