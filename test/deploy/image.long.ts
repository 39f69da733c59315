import t from 'tap'
import { buildImage } from './image.ts'
import { checkImage, checkWithoutPages } from './image-checks.ts'

// Runs test/deploy/image.test.ts with packages from the registry and freshly built pages.

t.test('the image contains only what production needs', { timeout: 600_000 }, async (t) => {
  const app = await buildImage(t)
  await checkImage(t, app)
  await t.test('missing pages affect only the stage; logs are JSON if pino-pretty is not installed', (t) => checkWithoutPages(t, app))
})
