// Runs test/features/matrix.test.ts for every pair of features: each server lacks a single feature, and all other
// features are checked, including those whose checks are slow.
process.env.ALL_PAIRS = 'true'
await import('./matrix.test.ts')
