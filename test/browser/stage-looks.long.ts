// test/browser/stage-looks.test.ts, with every width in every scheme.
process.env.ALL_LOOKS = 'true'
await import('./stage-looks.test.ts')
