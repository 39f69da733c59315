import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { onBothStores, onEveryStore } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'
import { redisDatabase, startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { onceASecond, stopwatch } from '../../support/pace.ts'
import { pair, sumOf, timesOf, reactionsOf } from './support.ts'

const config = { coalesceOver: 2, reactionsPerMinute: 10_000 }

/** Sends about forty reactions per second until the test stops this sender. All reactions must succeed. */
function reacting (client: TestClient, emojis: readonly string[]) {
  const accepted: Record<string, number> = {}
  const stopping = new AbortController()
  const done = (async () => {
    for (let i = 0; !stopping.signal.aborted; i++) {
      const emoji = emojis[i % emojis.length] as string
      await client.ok('room:react', { emoji })
      accepted[emoji] = (accepted[emoji] ?? 0) + 1
      await delay(25)
    }
  })()
  return {
    /** @returns the number of reactions sent, by emoji */
    async stop () {
      stopping.abort()
      await done
      return accepted
    }
  }
}

function total (...parts: Record<string, number>[]): Record<string, number> {
  const sum: Record<string, number> = {}
  for (const part of parts) for (const [emoji, count] of Object.entries(part)) sum[emoji] = (sum[emoji] ?? 0) + count
  return sum
}

onBothStores(t, 'sends counts to a big room once per second across all servers', async (t, env, kind) => {
  const [a, b] = await pair(t, kind, env, config)
  const [ada, bob, eve] = [await a.connect(1), await b.connect(2), await b.connect(3)]
  for (const client of [ada, bob, eve]) await client.ok('room:join', { roomId: 'r1' })
  const times = timesOf(ada)
  const begin = performance.now()
  const senders = [reacting(ada, ['🔥', '👏']), reacting(bob, ['🔥', '🎉'])]
  await until(() => times.length >= 3)
  const sent = total(...await Promise.all(senders.map(({ stop }) => stop())))
  for (const client of [ada, bob, eve]) await until(() => JSON.stringify(Object.entries(sumOf(client)).sort()) === JSON.stringify(Object.entries(sent).sort()))
  t.pass(`each of ${JSON.stringify(sent)} was counted once`)
  for (const client of [ada, bob, eve]) t.strictSame(reactionsOf(client), [])
  t.ok(onceASecond(times, begin), `${begin}: ${times.join()}`)
})

onEveryStore(t, 'sends the first reaction after a pause immediately', async (t, env, kind) => {
  const [a, b] = await pair(t, kind, env, { coalesceOver: 0 })
  const [ada, bob] = [await a.connect(1), await b.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  const passed = stopwatch()
  await ada.ok('room:react', { emoji: '🔥' })
  t.same(await bob.event('room:reactions'), { roomId: 'r1', counts: { '🔥': 1 } })
  t.ok(passed() < 900)
  for (const emoji of ['🔥', '👏', '🔥']) await ada.ok('room:react', { emoji })
  t.same(await bob.event('room:reactions'), { roomId: 'r1', counts: { '🔥': 2, '👏': 1 } }, 'the rest of the second arrives in one event')
})

onBothStores(t, 'a reload neither loses nor repeats a reaction', async (t, env, kind) => {
  const [a, b] = await pair(t, kind, env, config)
  const [ada, bob, eve] = [await a.connect(1), await b.connect(2), await a.connect(3)]
  for (const client of [ada, bob, eve]) await client.ok('room:join', { roomId: 'r1' })
  const times = timesOf(eve)
  const begin = performance.now()
  const senders = [reacting(ada, ['🔥', '👏']), reacting(bob, ['🔥', '🎉'])]
  for (let i = 0; i < 6; i++) {
    const { status, body } = await a.admin('POST', '/admin/features/reactions/reload')
    t.match({ status, body }, { status: 200, body: { generation: i + 2 } })
    if (i % 3 === 2) await until(() => times.length > i / 3)
  }
  const sent = total(...await Promise.all(senders.map(({ stop }) => stop())))
  for (const client of [ada, bob, eve]) await until(() => JSON.stringify(Object.entries(sumOf(client)).sort()) === JSON.stringify(Object.entries(sent).sort()))
  t.ok(onceASecond(times, begin), `at most once per second: ${begin}: ${times.join()}`)
})

onEveryStore(t, 'disabling the feature sends the pending reactions', async (t, env, kind) => {
  const [a, b] = await pair(t, kind, env, { coalesceOver: 0 })
  const [ada, bob] = [await a.connect(1), await b.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  for (let i = 0; i < 10; i++) await ada.ok('room:react', { emoji: '🔥' })
  t.equal((await a.admin('POST', '/admin/features/reactions/disable')).status, 200)
  await until(() => sumOf(bob)['🔥'] === 10)
})

t.test('a server that stops sends its pending reactions', async (t) => {
  const env = { REDIS_URL: await redisDatabase() }
  const [a, b] = await pair(t, 'redis', env, { coalesceOver: 0 })
  const [ada, bob] = [await a.connect(1), await b.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  for (let i = 0; i < 10; i++) await ada.ok('room:react', { emoji: '🔥' })
  await a.close()
  await until(() => sumOf(bob)['🔥'] === 10)
})

t.test('while Redis is down, members on the same server keep reacting', async (t) => {
  const redis = await startRedis(t)
  const [a, b] = await pair(t, 'redis', { REDIS_URL: redis.url }, config)
  const [ada, bob, eve, kim] = [await a.connect(1), await a.connect(2), await a.connect(3), await b.connect(4)]
  for (const client of [ada, bob, eve, kim]) await client.ok('room:join', { roomId: 'r1' })
  await redis.kill()
  await until(async () => (await fetch(`${a.url}/readyz`)).status === 503)
  for (let i = 0; i < 5; i++) await ada.ok('room:react', { emoji: '🔥' })
  for (const client of [ada, bob, eve]) await until(() => sumOf(client)['🔥'] === 5)
  t.strictSame(reactionsOf(bob), [], 'the local members alone make the room big')

  await redis.start()
  for (const server of [a, b]) await until(async () => (await fetch(`${server.url}/readyz`)).status === 200)
  await until(async () => (await b.app.store.getRoom('r1'))?.participantCount === 4)
  await ada.ok('room:react', { emoji: '👏' })
  for (const client of [ada, bob, eve, kim]) await until(() => sumOf(client)['👏'] === 1)
  t.strictSame(sumOf(bob), { '🔥': 5, '👏': 1 })
})

onEveryStore(t, 'a closed room drops pending reactions', async (t, env, kind) => {
  const [a, b] = await pair(t, kind, env, { coalesceOver: 0 })
  const [ada, bob] = [await a.connect(1), await b.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  await ada.ok('room:react', { emoji: '🔥' })
  await bob.event('room:reactions')
  await ada.ok('room:react', { emoji: '🔥' })
  t.equal((await a.admin('POST', '/admin/rooms/r1/close')).status, 204)
  for (const client of [ada, bob]) await client.event('room:closed')
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  await ada.ok('room:react', { emoji: '👏' })
  await bob.event('room:reactions', ({ counts }) => '👏' in (counts as object))
  t.strictSame(sumOf(bob), { '🔥': 1, '👏': 1 })
})
