import t from 'tap'
import { z } from 'zod'
import { onBothStores, onEveryStore } from '../../support/build.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { buildTally, follow } from './tally.ts'
import type { Follower } from './tally.ts'

const upTo = (n: number, from = 1) => Array.from({ length: n - from + 1 }, (_, i) => from + i)

onBothStores(t, 'applies concurrent changes sequentially, each once', async (t, env) => {
  const { connect, count, peek } = await buildTally(t, env)
  const ada = await follow(await connect(1))
  t.equal(ada.first, 0)
  const results = await Promise.all(Array.from({ length: 200 }, () => count()))
  t.same(results, upTo(200), 'changes are applied in the order of the requests')
  await until(() => ada.known() === 200)
  t.same(ada.numbers(), upTo(200))
  t.equal(peek(), 200)
  t.equal((await follow(await connect(2))).first, 200)
})

onEveryStore(t, 'a user who joins during changes receives each later change exactly once', async (t, env) => {
  const { connect, count, tally } = await buildTally(t, env)
  const ada = await connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  const clients = await Promise.all(Array.from({ length: 20 }, (_, i) => connect(100 + i)))
  const enough = new AbortController()
  const changes = (async () => {
    for (;;) {
      const n = await count()
      if (enough.signal.aborted) return n
      await new Promise((resolve) => setImmediate(resolve))
    }
  })()
  const members: Follower[] = []
  for (const client of clients) members.push(await follow(client))
  enough.abort()
  const last = await changes
  await until(() => members.every(({ known }) => known() === last))
  for (const { first, numbers } of members) {
    t.same(numbers(), first === last ? [] : upTo(last, first + 1), `from ${first}: no change is skipped or repeated`)
  }
  t.same(tally.peek('r1'), { n: last })
})

onEveryStore(t, 'a rejected change does not affect other changes', async (t, env) => {
  const { connect, count, peek, server, tally } = await buildTally(t, env)
  const ada = await follow(await connect(1))
  await count()
  const refused = Object.assign(new Error('no'), { code: 'REFUSED' })
  const [one, two, three] = await Promise.allSettled([
    count(),
    tally.change('r1', () => { throw refused }),
    count()
  ])
  t.match([one, two, three], [{ value: 2 }, { reason: refused }, { value: 3 }], 'a rejected change does not affect the others')
  t.equal(await tally.change('r1', (state) => ({ result: JSON.stringify(state) })), '{"n":3}', 'a decision without a new state changes nothing')
  t.equal(await server.app.rooms.roomState.define('another', z.unknown()).change('r1', (state) => ({ result: state })), undefined)
  t.equal(peek(), 3)
  await t.rejects(tally.change('nowhere', () => ({ result: 1 })), { code: 'ROOM_NOT_FOUND' })
  await until(() => ada.known() === 3)
  t.same(ada.numbers(), [1, 2, 3])
})

onEveryStore(t, 'a new room starts without state', async (t, env) => {
  const { connect, count, peek, server } = await buildTally(t, env)
  const ada = await follow(await connect(1))
  for (let i = 0; i < 3; i++) await count()
  t.equal((await server.admin('POST', '/admin/rooms/r1/close')).status, 204)
  await ada.client.event('room:closed')
  await t.rejects(count(), { code: 'ROOM_NOT_FOUND' })
  t.equal(peek(), 0)
  const again = await follow(ada.client)
  t.equal(again.first, 0)
  t.equal(await count(), 1)
  await ada.client.ok('room:leave')
  t.equal(peek(), 0, 'no local copy of rooms without local members')
  t.equal(await count(), 2, 'the state can still be changed')
})

onEveryStore(t, 'calls onChange once per version, before sending the events, and calls onWake at the wake-up time', async (t, env) => {
  const { connect, server: { app } } = await buildTally(t, env)
  const ada = await connect(1)
  const versions: unknown[] = []
  const woken: string[] = []
  await ada.ok('room:join', { roomId: 'r1' })
  const d = app.rooms.roomState.define('d', z.object({ i: z.int() }))
  d.onChange(({ roomId }, state) => { versions.push([roomId, state, ada.events.filter(({ type }) => type === 'e').length]) })
  d.onWake(async (roomId) => { woken.push(roomId) })
  for (let i = 1; i <= 3; i++) {
    await d.change('r1', () => ({ state: { i }, events: [{ type: 'e', data: { i } }], wakeAt: i === 2 ? 1 : undefined, result: i }))
    t.same(await ada.event('e'), { roomId: 'r1', i })
  }
  t.same(versions, [1, 2, 3].map((i) => ['r1', { i }, i - 1]))
  await until(() => woken.length > 0)
  t.same(woken, ['r1'])
})

t.test('changes on two servers reach all members in the same order', async (t) => {
  const env = { REDIS_URL: await redisDatabase() }
  const servers = [await buildTally(t, env), await buildTally(t, env)] as const
  const members: Follower[] = []
  for (const [i, { connect }] of [...servers, ...servers].entries()) members.push(await follow(await connect(i)))
  const results = await Promise.all(Array.from({ length: 300 }, (_, i) => servers[i % 2 as 0 | 1].count()))
  t.same(results.sort((a, b) => a - b), upTo(300), 'each change is applied once')
  await until(() => members.every(({ known }) => known() === 300))
  for (const { numbers } of members) t.same(numbers(), upTo(300))
  for (const { peek } of servers) t.equal(peek(), 300)

  const outside = await buildTally(t, env)
  t.equal(await outside.count(), 301, 'a server without members in the room can change the state, too')
  await until(() => members.every(({ known }) => known() === 301))
})

t.test('a change is based on the state in the store, not on a stale copy', async (t) => {
  const env = { REDIS_URL: await redisDatabase() }
  const servers = [await buildTally(t, env), await buildTally(t, env)] as const
  for (const [i, { connect }] of servers.entries()) await (await connect(i)).ok('room:join', { roomId: 'r1' })
  const seen: unknown[] = []
  // Both changes start in the same turn of the event loop, so neither server has received the other's change.
  const [, second] = await Promise.allSettled([
    servers[0].count(),
    servers[1].tally.change('r1', (state) => {
      seen.push(state)
      if (state === undefined) throw new Error('there is nothing yet')
      return { result: state }
    })
  ])
  // The two changes may run in either order. If the second server's change succeeds, the change must be based on the
  // first server's change.
  if (second.status === 'fulfilled') t.same(seen, [undefined, { n: 1 }])
  else t.same(seen, [undefined])
})
