import t from 'tap'
import { build } from '../support/build.ts'
import { featureFolder, saying } from '../support/features.ts'
import { metricOf } from '../support/metrics.ts'
import { until } from '../support/retry.ts'

t.test('counts connections and rooms', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth' } })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  await ada.ok('room:join', { roomId: 'r1' })
  await bob.ok('room:join', { roomId: 'r2' })
  await until(async () => await metricOf(server, 'flylive_rooms_active') === 2)
  t.equal(await metricOf(server, 'flylive_socket_connections'), 2)
  await bob.close()
  await until(async () => await metricOf(server, 'flylive_rooms_active') === 1)
  t.equal(await metricOf(server, 'flylive_socket_connections'), 1)
  t.equal(await metricOf(server, 'flylive_socket_connections_total'), 2)
  t.equal(await metricOf(server, 'flylive_ready'), 1)
  t.ok(await metricOf(server, 'flylive_socket_event_latency_seconds', { event: 'room:join', le: '+Inf' }) === 2)
})

t.test('counts feature loads', async (t) => {
  const folder = featureFolder(t)
  folder.write('says', { 'index.ts': saying('says', 'one') })
  const server = await build(t, { env: { FEATURES: 'auth,says', FEATURES_PATH: folder.path } })
  const loads = async () => ({
    ok: await metricOf(server, 'flylive_feature_loads_total', { feature: 'says', result: 'ok' }),
    failed: await metricOf(server, 'flylive_feature_loads_total', { feature: 'says', result: 'failed' }),
    timed: await metricOf(server, 'flylive_feature_load_seconds', { feature: 'says', le: '+Inf' }),
    generation: await metricOf(server, 'flylive_feature_generation', { feature: 'says' })
  })
  t.same(await loads(), { ok: 1, failed: 0, timed: 1, generation: 1 })
  t.equal((await server.admin('POST', '/admin/features/says/reload')).status, 200)
  t.same(await loads(), { ok: 2, failed: 0, timed: 2, generation: 2 })
  folder.write('says', { 'index.ts': "throw new Error('broken')" })
  t.equal((await server.admin('POST', '/admin/features/says/reload')).status, 422)
  t.same(await loads(), { ok: 2, failed: 1, timed: 2, generation: 2 }, 'the previous generation keeps running')
  t.equal((await server.admin('POST', '/admin/features/says/disable')).status, 200)
  t.match(await loads(), { generation: 0 })
})
