import { join } from 'node:path'
import t from 'tap'
import { build } from '../../support/build.ts'

t.test('FEATURES_PATH may contain the server itself', async (t) => {
  const root = join(import.meta.dirname, '..', '..', '..')
  const server = await build(t, { env: { FEATURES: 'auth,chat', FEATURES_PATH: root } })
  const client = await server.connect(1)
  await client.ok('room:join', { roomId: 'r1' })
  t.match(await server.admin('POST', '/admin/features/auth/reload'), { status: 200, body: { state: 'enabled', config: { secret: '********' } } })
})
