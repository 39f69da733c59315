// Runs test/plugins/clock.test.ts with every clock change on both stores.
process.env.ALL_STEPS = 'true'
await import('./clock.test.ts')
