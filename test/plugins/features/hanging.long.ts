import t from 'tap'
import { build } from '../../support/build.ts'
import { featureFolder, saying } from '../../support/features.ts'

t.test('features that never finish their start do not stop the server', async (t) => {
  const folder = featureFolder(t)
  const never = Promise.withResolvers<void>()
  Object.assign(globalThis, { flyliveNever: never.promise })
  // Each of them takes 30 s.
  for (const name of ['one', 'two', 'three']) folder.write(name, { 'index.ts': saying(name, 'x', { before: 'await globalThis.flyliveNever' }) })
  const server = await build(t, { env: { FEATURES: 'auth,one,two,three', FEATURES_PATH: folder.path } })
  const states = server.app.features.list().filter(({ state }) => state !== 'disabled').map(({ name, state }) => `${name} ${state}`)
  t.strictSame(states, ['auth enabled', 'one failed', 'three failed', 'two failed'])
  never.resolve()
})
