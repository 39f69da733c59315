// Runs test/plugins/clock.test.ts with every change of the clock on both stores.
process.env.ALL_STEPS = 'true'
await import('./clock.test.ts')
