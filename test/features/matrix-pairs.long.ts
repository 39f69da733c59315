// Runs the checks of test/features/matrix.test.ts for every pair of features: for each feature, starts a server that
// lacks only this feature, and checks all other features on this server, even if a check is slow.
process.env.ALL_PAIRS = 'true'
await import('./matrix.test.ts')
