// Runs test/client/moving-audio.test.ts with and without SINGLE_SESSION.
process.env.ALL_CASES = 'true'
await import('./moving-audio.test.ts')
