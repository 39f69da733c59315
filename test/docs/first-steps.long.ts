// Runs test/docs/first-steps.test.ts without prebuilt pages: `npm start` builds the pages, as in a real clone.
process.env.BUILD_PAGES = 'true'
await import('./first-steps.test.ts')
