// Runs test/features/matrix.test.ts with the slow checks of each feature while each other feature is off.
process.env.ALL_PAIRS = 'true'
await import('./matrix.test.ts')
