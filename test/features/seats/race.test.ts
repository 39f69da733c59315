import { createHash } from 'node:crypto'
import t from 'tap'
import type { Test } from 'tap'
import { seatState } from '../../../features/seats/state.ts'
import { swapDocument } from '../../../plugins/store/redis/scripts/state.ts'
import { build, onBothStores } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'
import { monitorRedis, startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { seatsOf } from './scene.ts'
import { apply, follow, plain, viewFrom } from './view.ts'
import type { SeatsReply } from './view.ts'

/** Number of users. Commands cannot conflict in the in-memory store, so the test needs fewer users with this store. */
const crowds = { memory: 50, redis: 200 }
const seats = 15

/** Connects users, joins them to a room and records their seat events. */
async function gather (servers: readonly TestServer[], crowd: number) {
  const members: ({ client: TestClient } & Awaited<ReturnType<typeof follow>>)[] = []
  for (let first = 0; first < crowd; first += 50) {
    members.push(...await Promise.all(Array.from({ length: 50 }, async (_, i) => {
      const client = await (servers[i % servers.length] as TestServer).connect(first + i)
      return { client, ...await follow(client) }
    })))
  }
  return members
}

type Members = Awaited<ReturnType<typeof gather>>

/**
 * Sends one request per member in the same turn of the event loop, so that all requests are sent before a server reads
 * the first request.
 */
const allAtOnce = async (members: Members, data: (i: number) => object) =>
  (await Promise.all(members.map(({ client }, i) => client.request('seat:take', data(i))))).map(({ ok, error }) => ok ? 'ok' : error.code)

/** Waits until every client has received the final state, and compares the views of the clients. */
async function allAgree (t: Test, servers: readonly TestServer[], members: Members) {
  const end = plain(viewFrom(await seatsOf(servers[0] as TestServer) as SeatsReply))
  for (const server of servers) t.same(plain(viewFrom(await seatsOf(server) as SeatsReply)), end, 'each server returns the same state')
  const text = JSON.stringify(end)
  const views = () => members.map(({ view }) => JSON.stringify(view()))
  const complete = () => new Set(members.map(({ seatEvents }) => seatEvents().length)).size === 1
  await until(() => complete() && views().every((view) => view === text)).catch(() => t.same([...new Set(views())], [text], 'all views are identical'))
  // Check that the events are consistent at each step and identical for all clients.
  for (const { joined, seatEvents } of members) {
    const view = viewFrom(joined as unknown as SeatsReply)
    const wrong = seatEvents().map((event) => apply(view, event)).filter(Boolean)
    if (wrong.length > 0) t.fail(wrong.join('; '))
  }
  const histories = new Set(members.map(({ seatEvents }) => JSON.stringify(seatEvents())))
  t.equal(histories.size, 1, 'all clients receive the same events in the same order')
  return { seatEvents: members[0]?.seatEvents() ?? [], end }
}

onBothStores(t, 'only one of many concurrent requests for a seat succeeds', async (t, env, kind) => {
  const crowd = crowds[kind]
  // Coalesce presence events even in small rooms, because the test ignores them.
  const given = { PRESENCE_COALESCE_OVER: '0', ...env }
  const servers = kind === 'redis' ? [await build(t, { env: given }), await build(t, { env: given })] : [await build(t, { env: given })]
  const members = await gather(servers, crowd)
  for (const server of servers) t.equal(server.app.sockets.size, crowd / servers.length)

  const codes = await allAtOnce(members, () => ({ seatIndex: 7 }))
  t.equal(codes.filter((code) => code === 'ok').length, 1, 'one request succeeds')
  t.equal(codes.filter((code) => code === 'SEAT_TAKEN').length, crowd - 1, 'the others are rejected')
  const winner = codes.indexOf('ok')
  const { seatEvents, end } = await allAgree(t, servers, members)
  t.same(end.seats, [`7: ${winner}`])
  t.same(seatEvents, [{ type: 'seat:updated', data: { roomId: 'r1', seatIndex: 7, userId: winner, isMuted: false } }], 'no other event is sent')

  // A dozen or more users request each of the seats simultaneously.
  await members[winner]?.client.ok('seat:leave')
  const again = await allAtOnce(members, (i) => ({ seatIndex: i % seats }))
  t.equal(again.filter((code) => code === 'ok').length, seats)
  t.equal(again.filter((code) => code === 'SEAT_TAKEN').length, crowd - seats)
  const full = await allAgree(t, servers, members)
  t.same(full.end.seats, again.flatMap((code, i) => code === 'ok' ? [i] : []).sort((a, b) => a % seats - b % seats).map((i) => `${i % seats}: ${i}`))

  // Seated users leave their seats, and all users request other seats.
  await Promise.all(members.map(async ({ client }, i) => {
    await client.request('seat:leave')
    await client.request('seat:take', { seatIndex: (i * 7) % seats })
    if (i % 3 === 0) await client.request('seat:take', { seatIndex: i % seats })
  }))
  const { end: { seats: last } } = await allAgree(t, servers, members)
  t.equal(new Set(last.map((text) => text.split(' ')[1])).size, last.length, 'no user has two seats')
})

/**
 * True if servers send this command periodically (for jobs, gifts, revoked tokens, heartbeats or empty rooms) and not
 * because of a request.
 */
function isPeriodic ([command = '', ...args]: string[]): boolean {
  const script = command.startsWith('eval')
  const key = args[script ? 2 : 0] ?? ''
  return (script && /^msab:(jobs:|\{gifts\})/.test(key)) || /^(auth:revoked:|msab:(node:|nodes$|rooms:empty$|\d+:canary:))/.test(key)
}

/** Returns the commands that Redis receives while a function runs. */
async function commandsDuring (t: Test, url: string, { app }: TestServer, work: () => Promise<unknown>): Promise<string[][]> {
  const seen: string[][] = []
  const over = Promise.withResolvers<void>()
  let begun = false
  const stop = await monitorRedis(t, url, (args, source) => {
    const [command, first] = args
    if (command === 'echo' && first === 'begin') begun = true
    else if (command === 'echo' && first === 'end') over.resolve()
    else if (begun && source !== 'lua' && !isPeriodic(args)) seen.push(args)
  })
  await app.redis.echo('begin')
  await work()
  await app.redis.echo('end')
  await over.promise
  stop()
  return seen
}

/** Removes the commands that no request waits for: health checks and rate limit counts. */
const awaited = (commands: string[][]) => commands
  .filter((args) => args[0] !== 'ping' && !args.some((arg) => arg.startsWith('msab:ratelimit:')))
  .map((args) => args.slice(0, args[0] === 'zadd' ? 2 : 6)).sort()

t.test('an uncontended change takes one round trip to the store', async (t) => {
  const redis = await startRedis(t)
  // Without the `mix` feature, which reads the number of people some time after a change.
  const env = { REDIS_URL: redis.url, FEATURES: 'auth,media,seats' }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const [owner, member, watcher] = [await a.connect(1), await b.connect(3), await a.connect(4)]
  for (const client of [owner, member, watcher]) await client.ok('room:join', { roomId: 'r1' })
  // First, let each server change a seat once, because the first call on a connection sends the script's source.
  await owner.ok('seat:take', { seatIndex: 0 })
  await member.ok('seat:take', { seatIndex: 1 })

  const swap = ['evalsha', createHash('sha1').update(swapDocument).digest('hex'), '2', 'msab:room:{r1}', 'msab:room:{r1}:docs', 'seats']
  const known = (server: TestServer) => server.app.rooms.roomState.define('seats', seatState).peek('r1')
  // The change also schedules the job that later checks the seat or the invite.
  const schedule = ['zadd', 'msab:jobs:{document:seats}']
  const steps: [client: TestClient, type: string, data: object, ...also: string[][]][] = [
    [member, 'seat:take', { seatIndex: 2 }],
    [member, 'seat:leave', {}],
    [member, 'seat:take', { seatIndex: 3 }],
    [owner, 'seat:mute', { userId: 3 }],
    [owner, 'seat:lock', { seatIndex: 5 }],
    [owner, 'seat:remove', { userId: 3 }],
    [owner, 'seat:take', { seatIndex: 6 }],
    [member, 'seat:take', { seatIndex: 4 }],
    [owner, 'seat:assign', { userId: 1, seatIndex: 7 }, schedule],
    // A rejection also needs a round trip to Redis, because the server's copy of the state may be stale.
    [member, 'seat:take', { seatIndex: 7 }]
  ]
  for (const [client, type, data, ...also] of steps) {
    // Wait until both servers have received the previous change.
    await until(() => JSON.stringify(known(a)) === JSON.stringify(known(b)))
    for (const each of [owner, member]) await each.flush()
    const commands = await commandsDuring(t, redis.url, a, () => client.request(type, data))
    t.same(awaited(commands), [swap, ...also].sort(), type)
  }

  // The server finds the invites in its local copy, without another command.
  for (const seatIndex of [8, 9]) await owner.ok('seat:invite', { userId: 3, seatIndex })
  await until(() => JSON.stringify(known(a)) === JSON.stringify(known(b)))
  for (const each of [owner, member]) await each.flush()
  const commands = await commandsDuring(t, redis.url, a, () => member.ok('seat:invite:accept', { seatIndex: 8 }))
  t.same(awaited(commands), [swap, schedule].sort(), 'seat:invite:accept')
})

t.test('concurrent changes on one server share round trips', async (t) => {
  const redis = await startRedis(t)
  const server = await build(t, { env: { REDIS_URL: redis.url } })
  const clients = await Promise.all(Array.from({ length: 50 }, (_, i) => server.connect(i)))
  for (const client of clients) await client.ok('room:join', { roomId: 'r1' })
  await clients[0]?.ok('seat:take', { seatIndex: 0 })
  const commands = await commandsDuring(t, redis.url, server, () => Promise.all(clients.map((client, i) => client.request('seat:take', { seatIndex: i % 3 }))))
  const own = awaited(commands)
  t.ok(own.length > 0 && own.length <= 25, `${own.length} commands for 50 requests`)
})
