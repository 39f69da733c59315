import t from 'tap'
import type { Test } from 'tap'
import { maxListedParticipants } from '../../../plugins/store/types.ts'
import { build, onBothStores, onEveryStore } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'
import { emptyArray } from '../../support/empty-array.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { produce, scene, seatsOf, seatEvents } from './scene.ts'
import { apply, follow, plain, viewFrom } from './view.ts'
import type { SeatsReply } from './view.ts'

const seatsIn = ({ seatCount, seats, lockedSeats, pendingInvites }: Record<string, unknown>) => ({ seatCount, seats, lockedSeats, pendingInvites })
const participantsIn = (joined: Record<string, unknown>) => (joined.participants as { userId: unknown }[]).map(({ userId }) => userId)

onEveryStore(t, 'a join returns the current seats', async (t, env) => {
  const { server, owner, admin, member, other } = await scene(t, env)
  const early = await server.connect('early')
  t.same(seatsIn(await early.ok('room:join', { roomId: 'r1' })), { seatCount: 4, seats: [], lockedSeats: [], pendingInvites: [] }, 'a new room has free, unlocked seats')

  await other.ok('seat:take', { seatIndex: 2 })
  await member.ok('seat:take', { seatIndex: 0 })
  await owner.ok('seat:mute', { userId: 4 })
  const producerId = await produce(member)
  await member.ok('audio:selfMute', { producerId })
  await owner.ok('seat:lock', { seatIndex: 3 })
  await owner.ok('seat:lock', { seatIndex: 1 })
  await admin.ok('seat:invite', { userId: 4, seatIndex: 3 })
  await owner.ok('seat:invite', { userId: 'early', seatIndex: 1 })
  const ends = [await other.event('seat:invite:received'), await early.event('seat:invite:received')].map(({ expiresAt }) => expiresAt)
  await owner.event('seat:userMuted', ({ selfMuted }) => selfMuted === true)
  const expected = {
    seatCount: 4,
    seats: [{ seatIndex: 0, userId: 3, isMuted: false }, { seatIndex: 2, userId: '4', isMuted: true }],
    lockedSeats: [1, 3],
    pendingInvites: [
      { seatIndex: 3, invitedUserId: '4', invitedById: 2, expiresAt: ends[0] },
      { seatIndex: 1, invitedUserId: 'early', invitedById: 1, expiresAt: ends[1] }
    ]
  }
  const late = await server.connect('late')
  t.same(seatsIn(await late.ok('room:join', { roomId: 'r1', seatCount: 9 })), expected, 'ids have the types that they have in the tokens, and there are only the fields of the contract')
  t.same(seatsIn(await late.ok('room:join', { roomId: 'r1' })), expected, 'a second join returns the same seats')
  t.same(seatEvents(late), [], 'the seats are only in the reply, not in events')

  await owner.ok('seat:unmute', { userId: 4 })
  await owner.ok('seat:unlock', { seatIndex: 3 })
  await other.ok('seat:invite:decline', { seatIndex: 3 })
  await member.ok('seat:leave')
  await server.admin('PATCH', '/admin/rooms/r1/seats', { seatCount: 6 })
  t.same(seatsIn(await (await server.connect('later')).ok('room:join', { roomId: 'r1' })), {
    seatCount: 6,
    seats: [{ seatIndex: 2, userId: '4', isMuted: false }],
    lockedSeats: [1],
    pendingInvites: [{ seatIndex: 1, invitedUserId: 'early', invitedById: 1, expiresAt: ends[1] }]
  }, 'ended mutes, locks and invites are omitted')
})

onEveryStore(t, 'the seat state survives when everyone leaves and rejoins', async (t, env) => {
  const { owner, member, all } = await scene(t, env)
  await member.ok('seat:take', { seatIndex: 0 })
  await owner.ok('seat:mute', { userId: 3 })
  await owner.ok('seat:lock', { seatIndex: 1 })
  for (const client of all) await client.ok('room:leave')
  t.match(await member.ok('room:join', { roomId: 'r1', seatCount: 9 }), { seatCount: 4, seats: emptyArray, lockedSeats: [1], ownerId: 1 })
  await member.ok('seat:take', { seatIndex: 0 })
  t.match(await owner.ok('room:join', { roomId: 'r1' }), { seats: [{ seatIndex: 0, userId: 3, isMuted: true }] }, 'the user is still muted')
})

onBothStores(t, 'a join during changes returns the same seats that other members see', async (t, env) => {
  const server = await build(t, { env })
  const movers = await Promise.all(Array.from({ length: 4 }, (_, i) => server.connect(i)))
  for (const client of movers) await client.ok('room:join', { roomId: 'r1', seatCount: 4 })
  const comers = await Promise.all(Array.from({ length: 20 }, (_, i) => server.connect(100 + i)))
  const enough = new AbortController()
  const moving = Promise.all(movers.map(async (client, i) => {
    for (let n = i; !enough.signal.aborted; n++) {
      await client.request('seat:take', { seatIndex: n % 4 })
      if (n % 5 === 0) await client.request('seat:leave')
    }
  }))
  const members = []
  for (const client of comers) members.push({ client, ...await follow(client) })
  enough.abort()
  await moving
  // A client that has received this last event has also received all earlier events.
  await server.admin('PATCH', '/admin/rooms/r1/seats', { seatCount: 5 })
  const end = plain(viewFrom(await seatsOf(server) as SeatsReply))
  for (const { client, joined, seatEvents, view } of members) {
    await client.event('seat:count')
    t.same(view(), end)
    const followed = viewFrom(joined as unknown as SeatsReply)
    t.same(seatEvents().map((event) => apply(followed, event)).filter(Boolean), [], 'no event repeats the reply')
  }
})

/** Fills a room with more members than a join reply contains. User 0 joins first. */
async function crowd (t: Test, servers: readonly TestServer[]): Promise<TestClient[]> {
  const clients: TestClient[] = []
  for (let id = 0; id < maxListedParticipants + 10; id++) {
    const client = await (servers[id % servers.length] as TestServer).connect(id)
    await client.ok('room:join', { roomId: 'r1' })
    clients.push(client)
  }
  t.equal(clients.length, 110)
  return clients
}

/** Seats some members, then checks the order of the users in a join reply. */
async function seatedFirst (t: Test, servers: readonly TestServer[]) {
  const clients = await crowd(t, servers)
  const inOrder = clients.map((_, id) => id)
  const comer = await (servers.at(-1) as TestServer).connect('comer')
  const first = await comer.ok('room:join', { roomId: 'r1' })
  t.equal(first.participantCount, 111)
  t.same(participantsIn(first), inOrder.slice(0, 100), 'members are in order of arrival')
  await comer.ok('room:leave')

  // Seat two users whom the join reply would otherwise omit, and one user whom the join reply would list anyway.
  const seated = [109, 50, 104]
  for (const [i, id] of seated.entries()) await clients[id]?.ok('seat:take', { seatIndex: 2 + i })
  const joined = await comer.ok('room:join', { roomId: 'r1' })
  t.equal(joined.participantCount, 111)
  t.same(participantsIn(joined), [...seated, ...inOrder.filter((id) => !seated.includes(id))].slice(0, 100), 'seated users first, in order of their seats')
  t.match((joined.participants as object[])[0], { userId: 109, name: 'User 109' }, 'seated users are listed with their profiles')

  // A disconnected user's seat is reserved, but the user is no longer a member of the room.
  clients[104]?.ws.terminate()
  await comer.event('room:userLeft', ({ userId }) => userId === 104)
  await comer.ok('room:leave')
  const last = await comer.ok('room:join', { roomId: 'r1' })
  t.equal(last.participantCount, 110)
  t.match(last.seats, [{ userId: 109 }, { userId: 50 }, { userId: 104 }])
  t.same(participantsIn(last), [109, 50, ...inOrder.filter((id) => ![109, 50].includes(id))].slice(0, 100))
}

t.test('in a big room, a join lists seated users first', async (t) => {
  await seatedFirst(t, [await build(t)])
})

t.test('a join lists seated users first even if they are on another server', async (t) => {
  const env = { REDIS_URL: await redisDatabase() }
  const servers = [await build(t, { env }), await build(t, { env })]
  await seatedFirst(t, servers)
})

onEveryStore(t, 'in a small room, a join lists everyone once', async (t, env) => {
  const { server, member, other } = await scene(t, env)
  await other.ok('seat:take', { seatIndex: 0 })
  await member.ok('seat:take', { seatIndex: 2 })
  const comer = await server.connect('comer')
  t.same(participantsIn(await comer.ok('room:join', { roomId: 'r1' })), ['4', 3, 1, 2, 'comer'])
  await until(async () => (await seatsOf(server)).seats.length === 2)
  t.same(participantsIn(await other.ok('room:join', { roomId: 'r1' })), ['4', 3, 1, 2, 'comer'])
})
