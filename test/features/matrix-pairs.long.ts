// Runs test/features/matrix.test.ts with servers that lack a single feature, and with the slow checks of each feature
// while each other feature is off.
process.env.ALL_PAIRS = 'true'
await import('./matrix.test.ts')
