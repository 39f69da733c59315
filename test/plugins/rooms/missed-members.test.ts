import t from 'tap'
import type { Test } from 'tap'
import { build, shortTimings } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'
import { deafen } from '../../support/deaf.ts'
import { redisDatabase, startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

// After an interruption, the members on a server receive the joins and leaves that they have missed.

const timings = { ...shortTimings, recoveryMs: 500 }

async function servers (t: Test, REDIS_URL: string, env: Record<string, string> = {}) {
  const start = () => build(t, { env: { FEATURES: 'auth', REDIS_URL, ...env }, timings })
  return [await start(), await start()] as const
}

/** The joins and leaves that a client has received, with a sign and the user's id. */
const changes = ({ events }: TestClient) =>
  events.flatMap(({ type, data }) => type === 'room:userJoined' ? [`+${String(data.userId)}`] : type === 'room:userLeft' ? [`-${String(data.userId)}`] : [])

t.test('announces users who joined and left while the subscription of a server was interrupted', async (t) => {
  const [a, b] = await servers(t, await redisDatabase())
  const [ada, old, bob] = [await a.connect('ada'), await a.connect('old'), await b.connect('bob')]
  for (const client of [ada, old, bob]) await client.ok('room:join', { roomId: 'r1' })
  const heal = deafen(b)
  const [carol, dan, eve] = [await a.connect('carol'), await b.connect('dan'), await a.connect('eve')]
  await carol.ok('room:join', { roomId: 'r1' })
  await old.ok('room:leave')
  // The reply to this join contains Carol, whom Bob does not know yet.
  t.match(await dan.ok('room:join', { roomId: 'r1' }), { participantCount: 4 })
  await until(() => changes(bob).length > 0)
  t.same(changes(bob), ['+dan'])
  await heal()
  await until(() => changes(bob).length === 3)
  t.same(changes(bob), ['+dan', '-old', '+carol'])

  await eve.ok('room:join', { roomId: 'r1' })
  for (const client of [ada, bob]) await client.event('room:userJoined', ({ userId }) => userId === 'eve')
  t.same(changes(bob), ['+dan', '-old', '+carol', '+eve'])
  t.same(changes(ada), ['+old', '+bob', '+carol', '-old', '+dan', '+eve'], 'members who missed nothing receive no extra events')
})

t.test('announces that the users of a server left which stopped while Redis lost its data', async (t) => {
  const redis = await startRedis(t)
  const [a, b] = await servers(t, redis.url)
  const [ada, bob] = [await a.connect('ada'), await b.connect('bob')]
  await bob.ok('room:join', { roomId: 'r1' })
  await ada.ok('room:join', { roomId: 'r1' })
  await bob.event('room:userJoined')
  await redis.kill()
  await a.close()
  await redis.start()
  t.match(await bob.event('room:userLeft'), { userId: 'ada' })
  t.match(await bob.ok('room:participants'), { participantCount: 1 })
})

t.test('announces a user who left and returned while another user joined', async (t) => {
  const [a, b] = await servers(t, await redisDatabase())
  const [carol, bob, dan] = [await a.connect('carol'), await b.connect('bob'), await b.connect('dan')]
  for (const client of [bob, carol]) await client.ok('room:join', { roomId: 'r1' })
  await bob.event('room:userJoined')
  const heal = deafen(b)
  await carol.ok('room:leave')
  t.match(await dan.ok('room:join', { roomId: 'r1' }), { participantCount: 2 })
  await carol.ok('room:join', { roomId: 'r1' })
  await heal()
  t.match(await dan.event('room:userJoined'), { userId: 'carol' })
})

t.test('announces a user whose join could not be published', async (t) => {
  const [a, b] = await servers(t, await redisDatabase())
  const [ada, bob] = [await a.connect('ada'), await b.connect('bob')]
  await bob.ok('room:join', { roomId: 'r1' })
  const { bus } = a.app
  const { publish } = bus
  bus.publish = async () => false
  await ada.ok('room:join', { roomId: 'r1' })
  bus.publish = publish
  t.match(await bob.event('room:userJoined'), { userId: 'ada' })
})

t.test('announces a user whose room:presence event could not be published', async (t) => {
  const [a, b] = await servers(t, await redisDatabase())
  const [ada, bob] = [await a.connect('ada'), await b.connect('bob')]
  await bob.ok('room:join', { roomId: 'r1' })
  // From now on, the server announces this user in room:presence.
  for (let i = 0; i < 10; i++) {
    await ada.ok('room:join', { roomId: 'r1' })
    await ada.ok('room:leave')
  }
  const { bus } = a.app
  const { publish } = bus
  let isLost = false
  bus.publish = async (_channel, message) => {
    isLost ||= message.includes('room:presence')
    return false
  }
  await ada.ok('room:join', { roomId: 'r1' })
  await until(() => isLost)
  bus.publish = publish
  await until(() => changes(bob).length === 21)
  t.equal(changes(bob).at(-1), '+ada')
})

t.test('tells a joining user about a leave that the members know, because the join reply may list the user', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth', REDIS_URL: await redisDatabase() }, timings })
  const { bus, rooms, store } = server.app
  const [ada, bob] = [await server.connect('ada'), await server.connect('bob')]
  await ada.ok('room:join', { roomId: 'r1' })
  const join = store.join.bind(store)
  store.join = async (command) => {
    const result = await join(command)
    rooms.emit('r1', 'room:userLeft', { userId: 'old' })
    await bus.check()
    return result
  }
  await bob.ok('room:join', { roomId: 'r1' })
  await bob.event('room:userLeft')
  await ada.event('room:userJoined')
  t.same(changes(ada), ['+bob'])
})

t.test('announces to nobody twice that a user left', async (t) => {
  const [a, b] = await servers(t, await redisDatabase())
  const [ada, old, bob] = [await a.connect('ada'), await a.connect('old'), await b.connect('bob')]
  for (const client of [ada, old, bob]) await client.ok('room:join', { roomId: 'r1' })
  const heal = deafen(b)
  await old.ok('room:leave')
  await heal()
  await until(() => changes(bob).includes('-old'))
  // The event of the leave was delayed, for example because the other server waited for Redis.
  a.app.rooms.emit('r1', 'room:userLeft', { userId: 'old' })
  await (await a.connect('carol')).ok('room:join', { roomId: 'r1' })
  await until(() => changes(bob).includes('+carol'))
  t.same(changes(bob), ['-old', '+carol'])
})

t.test('room:presence has the right number of users after an interruption', async (t) => {
  const [a, b] = await servers(t, await redisDatabase(), { PRESENCE_COALESCE_OVER: '1' })
  const bob = await b.connect('bob')
  await bob.ok('room:join', { roomId: 'r1' })
  const heal = deafen(b)
  for (const user of [1, 2, 3]) await (await a.connect(user)).ok('room:join', { roomId: 'r1' })
  await heal()
  await (await a.connect(4)).ok('room:join', { roomId: 'r1' })
  await bob.event('room:presence', ({ count }) => count === 5)
  t.same(changes(bob), [])
})

/** Waits until a server has read the list of a room's users from the store. */
async function listRead (server: TestServer, limit: number): Promise<void> {
  const { store } = server.app
  const list = store.listParticipants.bind(store)
  const { promise, resolve } = Promise.withResolvers<void>()
  store.listParticipants = async (...args) => {
    const result = await list(...args)
    if (args[2] === limit) setImmediate(resolve)
    return result
  }
  await promise
}

/** Makes a server's join replies list only the first user of a room, as in a room with more users than a reply lists. */
function listOneUser ({ app: { store } }: TestServer): void {
  const join = store.join.bind(store)
  store.join = async (command) => {
    const result = await join(command)
    return { ...result, participants: result.participants.slice(0, 1) }
  }
}

t.test('announces a leave in a room that was big before the interruption', async (t) => {
  const [a, b] = await servers(t, await redisDatabase(), { PRESENCE_COALESCE_OVER: '2' })
  const [ada, carol, dan, bob] = [await a.connect('ada'), await a.connect('carol'), await a.connect('dan'), await b.connect('bob')]
  for (const client of [bob, ada, carol, dan]) await client.ok('room:join', { roomId: 'r1' })
  await bob.event('room:presence', ({ count }) => count === 4)
  const read = listRead(b, 2)
  for (const client of [carol, dan]) await client.ok('room:leave')
  await read
  const heal = deafen(b)
  await ada.ok('room:leave')
  await heal()
  t.match(await bob.event('room:userLeft'), { userId: 'ada' })
})

t.test('announces a leave in a room whose join reply listed only some of the users', async (t) => {
  const [a, b] = await servers(t, await redisDatabase())
  listOneUser(b)
  const [ada, old, bob] = [await a.connect('ada'), await a.connect('old'), await b.connect('bob')]
  for (const client of [ada, old]) await client.ok('room:join', { roomId: 'r1' })
  const read = listRead(b, 200)
  await bob.ok('room:join', { roomId: 'r1' })
  await read
  const heal = deafen(b)
  await old.ok('room:leave')
  await heal()
  t.match(await bob.event('room:userLeft'), { userId: 'old' })
})

t.test('delivers a leave even if the list was read from the store after the leave', async (t) => {
  const [a, b] = await servers(t, await redisDatabase(), { PRESENCE_COALESCE_OVER: '2' })
  const [ada, carol, dan, bob] = [await a.connect('ada'), await a.connect('carol'), await a.connect('dan'), await b.connect('bob')]
  for (const client of [bob, ada, carol, dan]) await client.ok('room:join', { roomId: 'r1' })
  await bob.event('room:presence', ({ count }) => count === 4)
  const read = listRead(b, 2)
  for (const client of [carol, dan]) await client.ok('room:leave')
  await bob.event('room:presence', ({ count }) => count === 2)
  const { store } = a.app
  const leave = store.leave.bind(store)
  store.leave = async (...args) => {
    const result = await leave(...args)
    await read
    return result
  }
  await ada.ok('room:leave')
  t.match(await bob.event('room:userLeft'), { userId: 'ada' })
})

t.test('announces a leave only once if the list was read from the store before the event arrived', async (t) => {
  const [a, b] = await servers(t, await redisDatabase())
  listOneUser(b)
  const [ada, carol, bob] = [await a.connect('ada'), await a.connect('carol'), await b.connect('bob')]
  for (const client of [ada, carol]) await client.ok('room:join', { roomId: 'r1' })
  const read = listRead(b, 200)
  await bob.ok('room:join', { roomId: 'r1' })
  const { store } = a.app
  const leave = store.leave.bind(store)
  store.leave = async (...args) => {
    const result = await leave(...args)
    await read
    return result
  }
  await ada.ok('room:leave')
  await (await a.connect('dan')).ok('room:join', { roomId: 'r1' })
  await until(() => changes(bob).includes('+dan'))
  t.same(changes(bob), ['-ada', '+dan'])
})

t.test('does not read the list of a big room again for each user who joins', async (t) => {
  const [a, b] = await servers(t, await redisDatabase(), { PRESENCE_COALESCE_OVER: '5000' })
  const { store } = b.app
  const join = store.join.bind(store)
  store.join = async (command) => {
    const result = await join(command)
    return { ...result, participants: [], count: command.roomId === 'big' ? 1001 : result.count }
  }
  const list = store.listParticipants.bind(store)
  const read: string[] = []
  store.listParticipants = async (...args) => {
    const result = await list(...args)
    if (args[2] === 1000) read.push(args[0])
    return args[0] === 'big' ? { ...result, count: 1001 } : result
  }
  const [ada, bob, carol] = [await a.connect('ada'), await b.connect('bob'), await b.connect('carol')]
  await bob.ok('room:join', { roomId: 'big' })
  await ada.ok('room:join', { roomId: 'big' })
  await until(() => read.length > 0)
  await ada.ok('room:leave')
  await bob.event('room:userLeft')
  // This room's list is incomplete, too, and is read after the list of the big room would be read again.
  await carol.ok('room:join', { roomId: 'small' })
  await until(() => read.includes('small'))
  t.same(read, ['big', 'small'])
})

t.test('a user who moves from a slow server to another server stays listed', async (t) => {
  const [a, b] = await servers(t, await redisDatabase())
  const [ada, carol, bob] = [await a.connect('ada'), await a.connect('carol'), await b.connect('bob')]
  for (const client of [ada, carol, bob]) await client.ok('room:join', { roomId: 'r1' })
  const { store } = a.app
  const leave = store.leave.bind(store)
  const goOn = Promise.withResolvers<void>()
  store.leave = async (...args) => {
    const result = await leave(...args)
    await goOn.promise
    return result
  }
  await carol.close()
  await until(async () => (await store.getRoom('r1'))?.participantCount === 2)
  await (await b.connect('carol')).ok('room:join', { roomId: 'r1' })
  await bob.event('room:userJoined', ({ userId }) => userId === 'carol')
  goOn.resolve()
  for (const client of [ada, bob]) {
    await client.event('room:userLeft', ({ userId }) => userId === 'carol')
    await until(() => changes(client).filter((change) => change.endsWith('carol')).at(-1) === '+carol')
  }
})
