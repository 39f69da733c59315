// Runs test/browser/seats.test.ts with every change of seats during the setup of audio.
process.env.ALL_CHANGES = 'true'
await import('./seats.test.ts')
