// Runs all cases of test/browser/playback.test.ts, including a device that ignores the volume of audio elements.
process.env.ALL_CASES = 'true'
await import('./playback.test.ts')
