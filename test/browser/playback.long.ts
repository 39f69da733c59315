// Runs test/browser/playback.test.ts also on a device that ignores the volume of audio elements.
process.env.ALL_CASES = 'true'
await import('./playback.test.ts')
