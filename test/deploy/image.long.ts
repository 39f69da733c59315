import t from 'tap'
import { buildImage } from './image.ts'
import { checkImage } from './image-checks.ts'

// Runs test/deploy/image.test.ts with packages from the registry and freshly built pages.

t.test('the image contains only what production needs', { timeout: 600_000 }, async (t) => {
  await checkImage(t, await buildImage(t))
})
