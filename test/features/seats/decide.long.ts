// Runs test/features/seats/decide.test.ts with many more random sequences of commands.
process.env.SEAT_RUNS = '5000'
await import('./decide.test.ts')
