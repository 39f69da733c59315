import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { createRedisLeases } from '../../../plugins/cluster/leases.redis.ts'
import { unavailable } from '../../../plugins/errors/codes.ts'
import { createRedisStore } from '../../../plugins/store/redis/index.ts'
import { startBackend } from '../../support/backend.ts'
import { build, onBothStores, shortTimings, tokenFor } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import type { TestClient } from '../../support/client.ts'
import { emptyArray } from '../../support/empty-array.ts'
import { startServer } from '../../support/process.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

// The shortest grace period that the settings allow.
const grace = { OWNER_GRACE_SECONDS: '1' }

/** The tests run in parallel, because each test is independent and waits for its own grace periods. */
const concurrent = { buffered: true }

/** Connects users to a room one after another, in the given order. */
async function enter (server: TestServer, roomId: string, ...ids: (number | string)[]): Promise<TestClient[]> {
  const clients: TestClient[] = []
  for (const id of ids) {
    const client = await server.connect(id, { token: tokenFor(id, String(id).startsWith('admin') ? { roles: ['admin'] } : {}) })
    await client.ok('room:join', { roomId })
    clients.push(client)
  }
  return clients
}

const sit = async (client: TestClient, seatIndex: number) => { await client.ok('seat:take', { seatIndex }) }
const ownerOf = async (server: TestServer, roomId: string) => (await server.admin('GET', `/admin/rooms/${roomId}`)).body?.ownerId
const stateOf = async (server: TestServer, roomId: string) => JSON.parse((await server.app.store.readDocuments([roomId], 'ownership'))[0] ?? '{}') as { ownerId?: unknown, absentSince?: number }

onBothStores(t, 'another member succeeds an absent owner', async (t, env) => {
  const server = await build(t, { env: { ...env, ...grace, FEATURES: 'auth,seats,lobby' }, timings: shortTimings })
  t.jobs = 5

  t.test('the longest-seated admin becomes the owner', concurrent, async (t) => {
    const [owner, member, late, early] = await enter(server, 'admins', 1, 2, 'admin-late', 'admin-early') as [TestClient, TestClient, TestClient, TestClient]
    for (const [i, client] of [owner, member, early, late].entries()) await sit(client, i)
    // Users keep their seniority when they change seats.
    await sit(early, 9)
    await owner.close()
    for (const client of [member, late, early]) t.same(await client.event('room:owner'), { roomId: 'admins', ownerId: 'admin-early', previousOwnerId: 1 })
    await early.ok('seat:assign', { userId: 2, seatIndex: 5 })
    t.equal(await late.fails('seat:assign', { userId: 2, seatIndex: 6 }), 'FORBIDDEN')
    t.equal(await ownerOf(server, 'admins'), 'admin-early')
    const listed = (await server.admin('GET', '/admin/rooms')).body?.rooms as { id: string, ownerId: unknown }[]
    t.equal(listed.find(({ id }) => id === 'admins')?.ownerId, 'admin-early')
    const { rooms } = await member.ok('lobby:list')
    t.equal((rooms as { roomId: string, ownerId: unknown }[]).find(({ roomId }) => roomId === 'admins')?.ownerId, 'admin-early')
    const [again] = await enter(server, 'elsewhere', 1) as [TestClient]
    t.match(await again.ok('room:join', { roomId: 'admins' }), { ownerId: 'admin-early', self: { role: 'member' } }, 'the first owner returns as a member')
    await early.ok('room:leave')
    t.same(await again.event('room:owner'), { roomId: 'admins', ownerId: 'admin-late', previousOwnerId: 'admin-early' }, 'a successor can be succeeded, too')
  })

  t.test('if no admin is seated, the longest-seated member becomes the owner', concurrent, async (t) => {
    const [owner, , second, first] = await enter(server, 'members', 1, 'admin-standing', 3, 4) as [TestClient, TestClient, TestClient, TestClient]
    await sit(first, 5)
    await sit(second, 0)
    await owner.ok('room:leave')
    t.match(await first.event('room:owner'), { ownerId: 4, previousOwnerId: 1 })
  })

  t.test('if nobody is seated, the next user who takes a seat becomes the owner', concurrent, async (t) => {
    const [owner, listener, next] = await enter(server, 'nobody', 1, 2, 3) as [TestClient, TestClient, TestClient]
    const [other, witness] = await enter(server, 'nobody-later', 5, 6) as [TestClient, TestClient]
    await sit(witness, 0)
    await owner.close()
    await listener.event('room:userLeft')
    await other.close()
    await witness.event('room:owner')
    t.equal(await ownerOf(server, 'nobody'), 1)
    await next.ok('seat:request')
    await listener.ok('seat:request')
    await sit(next, 2)
    t.match(await listener.event('room:owner'), { ownerId: 3, previousOwnerId: 1 })
    t.match(await next.event('seat:requests', ({ requests }) => (requests as { userId: number }[]).some(({ userId }) => userId === 2)), { roomId: 'nobody' }, 'the new owner receives the raised hands')
  })

  t.test('an owner who returns in time stays the owner', concurrent, async (t) => {
    let rooms = 0
    const { roomId, owner, member, first } = await until(async () => {
      const roomId = `returns-${++rooms}`
      const [owner, member] = await enter(server, roomId, 1, 2) as [TestClient, TestClient]
      await sit(member, 0)
      await owner.ok('room:leave')
      const first = await until(async () => (await stateOf(server, roomId)).absentSince ?? (await ownerOf(server, roomId) !== 1 && 0))
      const { ownerId, self } = await owner.ok('room:join', { roomId })
      // If the machine pauses, the user returns too late.
      if (ownerId !== 1) return false
      t.match(self, { role: 'owner' })
      return { roomId, owner, member, first }
    })
    await until(async () => (await stateOf(server, roomId)).absentSince === undefined)
    const [other, witness] = await enter(server, 'returns-later', 5, 6) as [TestClient, TestClient]
    await sit(witness, 0)
    await other.close()
    await witness.event('room:owner')
    t.equal(await ownerOf(server, roomId), 1)
    await owner.ok('room:leave')
    await member.event('room:owner')
    t.ok(server.app.clock.now() - first > 2000, 'the grace period restarts with the second absence')
  })

  t.test('the grace period does not run while the room is empty', concurrent, async (t) => {
    const [owner, member] = await enter(server, 'empty', 1, 2) as [TestClient, TestClient]
    await owner.ok('room:leave')
    await until(async () => (await stateOf(server, 'empty')).absentSince !== undefined)
    await member.ok('room:leave')
    const [other, witness] = await enter(server, 'empty-later', 5, 6) as [TestClient, TestClient]
    await sit(witness, 0)
    await other.close()
    await witness.event('room:owner')
    const before = server.app.clock.now()
    t.match(await member.ok('room:join', { roomId: 'empty' }), { ownerId: 1, self: { role: 'member' } })
    await sit(member, 0)
    t.match(await member.event('room:owner'), { ownerId: 2 })
    t.ok(server.app.clock.now() - before >= 1000, 'the grace period begins with the join')
  })
})

onBothStores(t, 'without seats, the member who has been present longest becomes the owner', async (t, env) => {
  const server = await build(t, { env: { ...env, ...grace, FEATURES: 'auth' }, timings: shortTimings })
  const [owner, first, second] = await enter(server, 'r1', 1, 2, 'admin-3') as [TestClient, TestClient, TestClient]
  await owner.close()
  for (const client of [first, second]) t.same(await client.event('room:owner'), { roomId: 'r1', ownerId: 2, previousOwnerId: 1 })
})

onBothStores(t, 'a user who leaves while becoming the owner is replaced as the owner', async (t, env) => {
  const server = await build(t, { env: { ...env, ...grace, FEATURES: 'auth,moderation' }, timings: shortTimings })
  const { store } = server.app
  const swap = store.swapDocument.bind(store)
  for (const how of ['transfer', 'succession'] as const) {
    await t.test(how, async (t) => {
      const [owner, next, last] = await enter(server, how, 1, 2, 3) as [TestClient, TestClient, TestClient]
      const [held, left] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
      store.swapDocument = async (request) => {
        if (request.state?.includes('"ownerId":2') === true) {
          store.swapDocument = swap
          held.resolve()
          await left.promise
        }
        return await swap(request)
      }
      const changed = how === 'transfer' ? owner.ok('room:transfer', { userId: 2 }) : owner.ok('room:leave')
      await held.promise
      await next.ok('room:leave')
      left.resolve()
      await changed
      t.match(await last.event('room:owner', ({ previousOwnerId }) => previousOwnerId === 2), { ownerId: how === 'transfer' ? 1 : 3 })
    })
  }
})

onBothStores(t, 'an absent owner is replaced even if the start of the grace period could not be stored', async (t, env) => {
  const server = await build(t, { env: { ...env, ...grace, FEATURES: 'auth' }, timings: shortTimings })
  const [owner, member] = await enter(server, 'r1', 1, 2) as [TestClient, TestClient]
  const { jobs, store } = server.app
  const [schedule, swap] = [jobs.schedule, store.swapDocument]
  store.swapDocument = async () => {
    store.swapDocument = swap
    throw unavailable('The connection broke')
  }
  jobs.schedule = async () => {
    jobs.schedule = schedule
    throw unavailable('The connection broke')
  }
  await owner.ok('room:leave')
  t.same(await member.event('room:owner'), { roomId: 'r1', ownerId: 2, previousOwnerId: 1 })
  t.equal(jobs.schedule, schedule, 'the job that ends the grace period could not be stored either')
})

t.test('turning seats off ends the wait for a successor', async (t) => {
  const server = await build(t, { env: { ...grace, FEATURES: 'auth,seats' }, timings: shortTimings })
  const [owner, member] = await enter(server, 'r1', 1, 2) as [TestClient, TestClient]
  const [other, witness] = await enter(server, 'r2', 5, 6) as [TestClient, TestClient]
  await sit(witness, 0)
  await owner.close()
  await member.event('room:userLeft')
  await other.close()
  await witness.event('room:owner')
  t.equal(await ownerOf(server, 'r1'), 1)
  t.equal((await server.admin('POST', '/admin/features/seats/disable')).status, 200)
  t.match(await member.event('room:owner'), { ownerId: 2 })
})

t.test('the kernel appoints no owner if the grace period is 0 or a backend determines the owner', async (t) => {
  const backend = await startBackend(t)
  backend.rooms.set('7', 1)
  for (const env of [{ OWNER_GRACE_SECONDS: '0', FEATURES: 'auth' }, { ...backend.env, ...grace, FEATURES: 'auth,laravel-bridge' }]) {
    const server = await build(t, { env, timings: shortTimings })
    const [owner, member] = await enter(server, '7', 1, 2) as [TestClient, TestClient]
    await owner.close()
    await member.event('room:userLeft')
    await member.flush()
    t.same(await stateOf(server, '7'), {})
  }
})

t.test('a restart without Redis keeps owner, PIN, locked seats and mutes', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'flylive-rooms-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const env = { ...grace, DATA_DIR: folder, FEATURES: 'auth,seats' }
  const first = startServer(t, env)
  const connectTo = async (url: string, id: number) => await connect(t, url, { token: tokenFor(id) })
  const host = await connectTo(await first.url, 1)
  await host.ok('room:join', { roomId: 'r1', pin: '1234', seatCount: 3 })
  const seated = await connectTo(await first.url, 2)
  await seated.ok('room:join', { roomId: 'r1', pin: '1234' })
  await seated.ok('seat:take', { seatIndex: 1 })
  await host.ok('seat:mute', { userId: 2 })
  await host.ok('seat:lock', { seatIndex: 2 })
  await host.ok('room:join', { roomId: 'r2' })
  first.child.kill('SIGKILL')
  await first.exit

  const second = await build(t, { env, timings: shortTimings })
  const listener = await second.connect(2)
  t.equal(await listener.fails('room:join', { roomId: 'r1' }), 'PIN_REQUIRED')
  t.match(await listener.ok('room:join', { roomId: 'r1', pin: '1234' }), { ownerId: 1, self: { role: 'member' }, seatCount: 3, seats: emptyArray, lockedSeats: [2] })
  t.equal(await listener.fails('seat:lock', { seatIndex: 0 }), 'FORBIDDEN')
  const back = await second.connect(1)
  t.match(await back.ok('room:join', { roomId: 'r1', pin: '1234' }), { ownerId: 1, self: { role: 'owner' } })
  await back.ok('room:leave')
  await listener.ok('seat:take', { seatIndex: 0 })
  t.match(await listener.event('seat:updated'), { userId: 2, isMuted: true })
  t.match(await listener.event('room:owner'), { ownerId: 2, previousOwnerId: 1 })
  await second.close()

  const third = await build(t, { env })
  const again = await third.connect(1)
  t.match(await again.ok('room:join', { roomId: 'r1', pin: '1234' }), { ownerId: 2, self: { role: 'member' } }, 'the successor is kept, too')
})

/**
 * Waits for a new owner. If a server is killed while running the job that appoints the owner, another server repeats
 * the job later.
 */
const untilSucceeded = (member: TestClient) => until(() => member.events.some(({ type }) => type === 'room:owner'), 60_000)

t.test('changes of the owner work across servers', async (t) => {
  const env = { ...grace, REDIS_URL: await redisDatabase(), FEATURES: 'auth,seats' }
  const [a, b] = [await build(t, { env, timings: shortTimings }), await build(t, { env, timings: shortTimings })]
  t.jobs = 3

  t.test('an admin on another server becomes the owner', concurrent, async (t) => {
    const [member] = await enter(b, 'elsewhere', 9) as [TestClient]
    await member.ok('room:leave')
    const [owner] = await enter(a, 'r1', 1) as [TestClient]
    const [admin, there] = await enter(b, 'r1', 'admin', 3) as [TestClient, TestClient]
    await sit(there, 0)
    await sit(admin, 1)
    await owner.close()
    for (const client of [admin, there]) t.match(await client.event('room:owner'), { ownerId: 'admin', previousOwnerId: 1 })
    const [late] = await enter(a, 'r0', 7) as [TestClient]
    t.match(await late.ok('room:join', { roomId: 'r1' }), { ownerId: 'admin' })
    await admin.ok('seat:assign', { userId: 7, seatIndex: 4 })
    t.equal(await ownerOf(a, 'r1'), 'admin')
  })

  t.test('another server takes over from a server that dies during the grace period', concurrent, async (t) => {
    const dying = startServer(t, env)
    const owner = await connect(t, await dying.url, { token: tokenFor(1) })
    await owner.ok('room:join', { roomId: 'r2' })
    const [member] = await enter(b, 'r2', 2) as [TestClient]
    await sit(member, 0)
    await owner.ok('room:leave')
    await member.event('room:userLeft')
    await until(async () => (await stateOf(b, 'r2')).absentSince !== undefined)
    dying.child.kill('SIGKILL')
    await untilSucceeded(member)
    t.match(await member.event('room:owner'), { ownerId: 2, previousOwnerId: 1 })
  })

  t.test('another member succeeds an owner whose server died', concurrent, async (t) => {
    const connection = a.app.redis.duplicate()
    t.teardown(() => connection.disconnect())
    await connection.connect()
    const leases = createRedisLeases(connection, 'dead-node')
    await leases.heartbeat()
    const profile = { userId: 1, id: 1 }
    const now = Date.now()
    await createRedisStore(connection, 'dead-node', leases, 0).join({ roomId: 'r3', sessionId: 's', userKey: '1', profile, limit: 10, now, create: { roomId: 'r3', ownerId: 1, createdAt: now, options: {}, locked: false } })
    const [member] = await enter(b, 'r3', 2) as [TestClient]
    await sit(member, 0)
    await a.app.redis.del('msab:node:{dead-node}')
    await untilSucceeded(member)
    t.match(await member.event('room:owner'), { ownerId: 2, previousOwnerId: 1 })
  })
})
