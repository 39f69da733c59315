// Runs test/browser/stage-looks.test.ts with all combinations of width and color scheme.
process.env.ALL_LOOKS = 'true'
await import('./stage-looks.test.ts')
