import { Redis } from 'ioredis'
import t from 'tap'
import { build, shortTimings } from '../../support/build.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

// Redis may lose individual keys of a room, through eviction or an accidental DEL.

const suffixes = ['', ':users', ':profiles', ':refs', ':sessions', ':docs', ':logs', ':logs:chat']

const REDIS_URL = await redisDatabase()
const redis = new Redis(REDIS_URL)
t.teardown(() => redis.disconnect())
const env = { REDIS_URL, FEATURES: 'auth,seats,chat,auto-close,lobby', EMPTY_ROOM_SECONDS: '0', FEATURES_CONFIG: '{"lobby":{"cacheMs":0}}' }
const [a, b] = [await build(t, { env, timings: shortTimings }), await build(t, { env, timings: shortTimings })]

for (const [i, suffix] of suffixes.entries()) {
  const roomId = `r${i}`
  t.test(`a room is repaired after the loss of its key "${suffix || 'room'}"`, async (t) => {
    const [ada, bob, carl] = [await a.connect(1), await b.connect(2), await b.connect(3)]
    // After a pause of the process, the servers treat their leases as lost and delay new rooms.
    for (const client of [ada, bob, carl]) await until(async () => await client.ok('room:join', { roomId, pin: '1234' }))
    await ada.ok('seat:take', { seatIndex: 0 })
    await bob.ok('seat:take', { seatIndex: 1 })
    await ada.ok('chat:message', { content: 'before' })

    t.equal(await redis.del(`msab:room:{${roomId}}${suffix}`), 1)
    const dan = await a.connect(4)
    const requests = [
      () => ada.request('seat:take', { seatIndex: 2 }), () => bob.request('chat:message', { content: 'after' }), () => carl.request('room:participants'),
      () => dan.request('room:join', { roomId, pin: '1234' }), () => dan.request('lobby:list'), () => carl.request('room:leave'), () => dan.request('user:getRoom', { userId: 1 })
    ]
    for (const request of requests) {
      const { error } = await request()
      t.ok(error === undefined || ['UNAVAILABLE', 'ROOM_NOT_FOUND', 'NOT_IN_ROOM'].includes(error.code), JSON.stringify(error))
    }
    const eve = await b.connect(5)
    const joined = await until(async () => {
      const { ok, data } = await eve.request('room:join', { roomId, pin: '1234' })
      if (!ok) return false
      const { participants, participantCount, seats } = data as unknown as { participants: { userId: number }[], participantCount: number, seats: { userId: number }[] }
      const users = participants.map(({ userId }) => userId)
      const isWhole = [1, 2, 5].every((id) => users.includes(id)) && !users.includes(3) && participantCount === users.length && seats.some(({ userId }) => userId === 2)
      if (!isWhole) await eve.request('room:leave')
      return isWhole && data
    }, 20_000)
    t.match(joined, { ownerId: 1 })
    await bob.ok('chat:message', { content: 'still here' })
    t.match(await ada.event('chat:message', ({ content }) => content === 'still here'), { userId: 2 })
    const frank = await a.connect(6)
    t.equal((await frank.request('room:join', { roomId })).error?.code, 'PIN_REQUIRED')
    for (const client of [ada, bob, eve, dan]) await client.close()
    await until(async () => (await a.admin('GET', `/admin/rooms/${roomId}`)).status === 404, 20_000)
    t.same(await redis.keys(`msab:room:{${roomId}}*`).then((keys) => keys.filter((key) => !/:(closed|ban|pin)/.test(key))), [])
  })
}

const memberSuffixes = [':users', ':profiles', ':refs', ':sessions']
for (const [i, lost] of [memberSuffixes, ['', ...memberSuffixes, ':docs', ':listed']].entries()) {
  const roomId = `all${i}`
  t.test(`a room is repaired after the loss of ${lost.length} keys at once`, async (t) => {
    const [ada, bob] = [await a.connect(1), await b.connect(2)]
    for (const client of [ada, bob]) await until(async () => await client.ok('room:join', { roomId }))
    await redis.del(lost.map((suffix) => `msab:room:{${roomId}}${suffix}`))
    // A new member, so that the keys are consistent again, but incomplete.
    const eve = await a.connect(3)
    await until(async () => (await eve.request('room:join', { roomId })).ok)
    await until(async () => (await a.app.store.getParticipants(roomId, 10)).map(({ userId }) => userId).sort().join() === '1,2,3', 20_000)
    t.match((await eve.ok('room:participants')), { participantCount: 3 })
    t.match(await a.app.store.getRoom(roomId), { ownerId: 1 })
  })
}
