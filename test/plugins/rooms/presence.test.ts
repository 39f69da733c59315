import t from 'tap'
import type { Test } from 'tap'
import { createPresence } from '../../../plugins/rooms/presence.ts'
import { build } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

// The servers of a large room take turns to send `room:presence`. While a server waits, its users join and leave on
// other servers.

interface Presence { count: number, joined: { userId: unknown }[], left: unknown[] }

/** Makes a server wait, as if other servers always sent their events first. Returns a function that ends the wait. */
function holdBack ({ app: { cluster } }: TestServer): () => void {
  const { tryLock } = cluster
  cluster.tryLock = async (key, ttlMs) => key.startsWith('presence:') ? false : await tryLock(key, ttlMs)
  return () => { cluster.tryLock = tryLock }
}

/** Starts two servers. A watcher and the user `bob` are in the same room on the first server. */
async function twoServers (t: Test) {
  const env = { FEATURES: 'auth', PRESENCE_COALESCE_OVER: '0', REDIS_URL: await redisDatabase() }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const watcher = await a.connect('watcher')
  await watcher.ok('room:join', { roomId: 'r1' })
  const presences = () => watcher.events.filter(({ type }) => type === 'room:presence').map(({ data }) => data as unknown as Presence)
  const hasJoined = (name: string) => presences().some(({ joined }) => joined.some(({ userId }) => userId === name))
  const hasLeft = (name: string) => presences().some(({ left }) => left.includes(name))
  const join = async (server: TestServer, name: string) => {
    const client = await server.connect(name)
    await client.ok('room:join', { roomId: 'r1' })
    return client
  }
  const bob = await join(a, 'bob')
  await until(() => hasJoined('bob'))
  return { a, b, bob, join, presences, hasJoined, hasLeft }
}

t.test('a user who moved to another server is not announced as left', async (t) => {
  const { a, b, bob, join, presences, hasJoined, hasLeft } = await twoServers(t)
  const goOn = holdBack(a)
  await bob.ok('room:leave')
  await join(a, 'carol')
  await join(b, 'bob')
  await until(() => presences().filter(({ joined }) => joined.some(({ userId }) => userId === 'bob')).length === 2)
  goOn()
  await until(() => hasJoined('carol'))
  t.notOk(hasLeft('bob'))
  t.equal(presences().at(-1)?.count, 3, 'the count is the current count')
})

t.test('announces that a user left who was on another server only briefly', async (t) => {
  const { a, b, bob, join, hasJoined, hasLeft } = await twoServers(t)
  holdBack(b)
  const goOn = holdBack(a)
  await bob.ok('room:leave')
  await join(a, 'carol')
  const there = await join(b, 'bob')
  goOn()
  await until(() => hasJoined('carol'))
  t.notOk(hasLeft('bob'))
  await there.ok('room:leave')
  await until(() => hasLeft('bob'))
  t.pass('the first server announces that the user left')
})

t.test('announces that a user returned whom another server has announced as left', async (t) => {
  const { a, b, bob, join, presences, hasLeft } = await twoServers(t)
  const joins = () => presences().filter(({ joined }) => joined.some(({ userId }) => userId === 'bob')).length
  const goOn = holdBack(a)
  await bob.ok('room:leave')
  const there = await join(b, 'bob')
  await until(() => joins() === 2)
  await there.ok('room:leave')
  await until(() => hasLeft('bob'))
  await bob.ok('room:join', { roomId: 'r1' })
  goOn()
  await until(() => joins() === 3)
  t.equal(presences().at(-1)?.count, 2)
})

t.test('the longer a server waits, the more often it tries to send its changes', async (t) => {
  const times: number[] = []
  const presence = createPresence({
    async tryLock () {
      times.push(performance.now())
      return false
    },
    isCongested: () => false,
    readPresent: async (_roomId, userKeys) => ({ count: 1, isPresent: userKeys.map(() => true) }),
    send () {}
  })
  t.teardown(() => presence.close())
  presence.joined('r1', { userId: 1, id: 1 }, 1)
  await until(() => times.some((time, i) => i > 0 && time - (times[i - 1] as number) < 150))
  t.ok(times.length > 2, 'the first attempts are less frequent')
})
