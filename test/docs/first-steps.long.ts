// Runs test/docs/first-steps.test.ts with a build of the pages, as after a real clone.
process.env.BUILD_PAGES = 'true'
await import('./first-steps.test.ts')
