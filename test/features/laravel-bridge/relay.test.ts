import t from 'tap'
import type { Test } from 'tap'
import { startBackend } from '../../support/backend.ts'
import { build } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { valueOf } from './support.ts'

async function setUp (t: Test, servers = 1, env: Record<string, string> = {}) {
  const redis = await startRedis(t)
  const backend = await startBackend(t, { redisUrl: redis.url, ...(env.LARAVEL_EVENTS_CHANNEL === undefined ? {} : { channel: env.LARAVEL_EVENTS_CHANNEL }) })
  backend.everyRoom = () => 1
  const started: TestServer[] = []
  for (let i = 0; i < servers; i++) started.push(await build(t, { env: { ...backend.env, REDIS_URL: redis.url, ...env } }))
  return { redis, backend, servers: started as [TestServer, ...TestServer[]] }
}

const eventsOf = (client: TestClient) => client.events.filter(({ type }) => /^[a-z_]+[.:][a-z_]+$/.test(type) && !/^(session|room:|seat:)/.test(type)).map(({ type, data }) => `${type} ${JSON.stringify(data)}`)
const dropped = ({ app }: TestServer, reason: string) => valueOf(app.metrics, `flylive_laravel_events_dropped_total{reason="${reason}"}`)

t.test('delivers events once to each recipient, on every server', async (t) => {
  const { backend, servers: [a, b] } = await setUp(t, 2)
  if (!b) return t.fail()
  const ada = [await a.connect(1), await a.connect(1), await b.connect(1)]
  const bob = await b.connect(2)
  const eve = await a.connect(3)
  await ada[0]?.ok('room:join', { roomId: '7' })
  await bob.ok('room:join', { roomId: '7' })
  await eve.ok('room:join', { roomId: '8' })
  const end = async () => {
    await backend.publish('config:invalidate', { payload: 'end' })
    for (const client of [...ada, bob, eve]) await client.event('config:invalidate', (data) => data as unknown === 'end')
  }

  await backend.publish('balance.updated', { user_id: 1, payload: { coins: 5 } })
  await backend.publish('balance.updated', { user_id: '1', payload: [] })
  await backend.publish('room.level_up', { room_id: 7, payload: { level: 2 } })
  await backend.publish('room.join_request_approved', { user_id: 1, room_id: 8, payload: null })
  await backend.publish('asset:invalidate', { payload: { keys: ['a'] } })
  await backend.publish('balance.updated', { user_id: 99, payload: 'nobody' })
  await backend.publish('room.level_up', { room_id: 99, payload: 'nobody' })
  await end()
  const own = ['balance.updated {"coins":5}', 'balance.updated []']
  const all = ['asset:invalidate {"keys":["a"]}', 'config:invalidate "end"']
  t.same(eventsOf(ada[0] as TestClient), [...own, 'room.level_up {"level":2}', 'room.join_request_approved null', ...all])
  for (const client of ada.slice(1)) t.same(eventsOf(client), [...own, 'room.join_request_approved null', ...all], 'a socket that is not in the room')
  t.same(eventsOf(bob), ['room.level_up {"level":2}', ...all])
  t.same(eventsOf(eve), all)
  t.equal(await valueOf(a.app.metrics, 'flylive_laravel_events_received_total{event_type="balance.updated",delivered="true"}'), 2)
  t.equal(await valueOf(a.app.metrics, 'flylive_laravel_events_received_total{event_type="balance.updated",delivered="false"}'), 1)
  t.equal(await valueOf(a.app.metrics, 'flylive_laravel_events_in_flight'), 0)
  t.equal(await valueOf(a.app.metrics, 'flylive_laravel_event_processing_duration_seconds_count'), 8)
})

t.test('relays only allowed events and uses only their names as metric labels', async (t) => {
  const { backend, servers: [server] } = await setUp(t, 1, { LARAVEL_EVENTS: 'level.up,own.event', LARAVEL_EVENTS_CHANNEL: 'app_flylive:events' })
  const ada = await server.connect(1)
  await backend.publish('balance.updated', { user_id: 1 })
  for (let i = 0; i < 50; i++) await backend.publish(`made.up${i}`, { user_id: 1 })
  await backend.publish('own.event', { user_id: 1, payload: { a: 1 } })
  t.same(await ada.event('own.event'), { a: 1 })
  t.same(eventsOf(ada), ['own.event {"a":1}'])
  t.equal(await dropped(server, 'unknown'), 51)
  t.notMatch(await server.app.metrics.registry.metrics(), /made\.up|balance\.updated/)
})

t.test('delivers a repeated event once', async (t) => {
  const { backend, servers: [server] } = await setUp(t)
  const ada = await server.connect(1)
  const bob = await server.connect(2)
  for (let i = 0; i < 3; i++) await backend.publish('level.up', { user_id: 1, payload: { level: 2 }, correlation_id: 'same' })
  await backend.publish('balance.updated', { user_id: 1, payload: {}, correlation_id: 'same' })
  await backend.publish('balance.updated', { user_id: 2, payload: {}, correlation_id: 'same' })
  for (let i = 0; i < 2; i++) await backend.publishText(JSON.stringify({ event: 'badge.earned', user_id: 1, room_id: null, payload: i }))
  await ada.event('badge.earned', (data) => data as unknown === 1)
  t.same(eventsOf(ada), ['level.up {"level":2}', 'balance.updated {}', 'badge.earned 0', 'badge.earned 1'], 'one request causes several events; events without an id are not deduplicated')
  t.same(eventsOf(bob), ['balance.updated {}'])
  t.equal(await dropped(server, 'duplicate'), 2)
})

t.test('ignores malformed events', async (t) => {
  const { backend, servers: [server] } = await setUp(t)
  const warned: unknown[] = []
  const ada = await server.connect(1)
  server.app.log.warn = ((...args: unknown[]) => { warned.push(args) }) as typeof server.app.log.warn
  for (const text of ['', 'nonsense', '{', 'null', '{"event":7}', '{"event":"level.up","user_id":{}}', '\u0000', `{"event":"level.up","payload":"${'x'.repeat(300_000)}"}`]) await backend.publishText(text)
  await backend.publish('level.up', { user_id: 1, payload: { level: 3 } })
  t.same(await ada.event('level.up'), { level: 3 })
  t.equal(await dropped(server, 'malformed'), 8)
  t.same(eventsOf(ada), ['level.up {"level":3}'])
})

t.test('a joining user receives room events after the join reply', async (t) => {
  const { backend, servers: [server] } = await setUp(t)
  const ada = await server.connect(1)
  let level = 0
  const timer = setInterval(() => { backend.publish('room.level_up', { room_id: 7, payload: { level: ++level } }) }, 2)
  t.teardown(() => clearInterval(timer))
  await until(() => level > 10)
  const frames: { ok?: boolean, type: string, data: { level?: number } }[] = []
  ada.ws.on('message', (raw) => { frames.push(JSON.parse(String(raw)) as typeof frames[0]) })
  await ada.ok('room:join', { roomId: '7' })
  await until(() => frames.length > 50)
  clearInterval(timer)
  t.equal(frames[0]?.ok, true, 'the reply arrives first')
  const levels = frames.slice(1).filter(({ type }) => type === 'room.level_up').map(({ data }) => Number(data.level))
  t.same(levels, levels.map((_, i) => Number(levels[0]) + i), 'no event is missing')
})

t.test('drops events of more than 64 KiB', async (t) => {
  const { backend, servers: [server] } = await setUp(t)
  const ada = await server.connect(1)
  await backend.publish('balance.updated', { user_id: 1, payload: { text: 'x'.repeat(65_536) } })
  await backend.publish('balance.updated', { user_id: 1, payload: { coins: 5 } })
  t.match(await ada.event('balance.updated'), { coins: 5 })
  t.equal(await dropped(server, 'too_large'), 1)
})
