import t from 'tap'
import { buildPages } from '../../features/stage/build.ts'
import { buildImage, copyPages, copyProductionPackages } from './image.ts'
import { checkImage } from './image-checks.ts'

t.test('the image contains only what production needs', { timeout: 120_000 }, async (t) => {
  await buildPages(() => {})
  await checkImage(t, await buildImage(t, { prepare: { packages: copyProductionPackages }, replace: { pages: copyPages } }))
})
