import t from 'tap'
import type { Test } from 'tap'
import { RoomClient } from '../../client/index.ts'
import type { RoomOptions } from '../../client/index.ts'
import { build, tokenFor } from '../support/build.ts'
import type { TestServer } from '../support/build.ts'
import { until } from '../support/retry.ts'
import { createRelay } from './relay.ts'
import { backoff } from './watch.ts'

function enter (t: Test, server: Pick<TestServer, 'url'>, id: string | number, options: Partial<RoomOptions> = {}) {
  const room = new RoomClient({ url: server.url, token: () => tokenFor(id), audio: false, backoff, ...options })
  t.teardown(() => room.close())
  const states: string[] = []
  room.on('state', (state, why) => states.push(why ? `${state} ${why.code}` : state))
  return { room, states }
}

const namesOf = (room: RoomClient) => room.participants.map(({ profile }) => profile.name)

const server = await build(t, { env: { FEATURES: 'auth,seats' } })

t.test('tracks the participants', async (t) => {
  const { room, states } = enter(t, server, 1)
  const reply = await room.join('r1')
  t.match(reply, { self: { role: 'owner' } })
  t.equal(room.roomId, 'r1')
  t.match(room.participants, [{ userId: 1, isSelf: true, isSpeaking: false, microphone: 'none' }])

  const bob = await server.connect('b')
  await bob.ok('room:join', { roomId: 'r1' })
  await until(() => room.participantCount === 2)
  t.same(namesOf(room), ['User 1', 'User b'])
  const { room: late } = enter(t, server, 3)
  await late.join('r1')
  t.same(namesOf(late).sort(), ['User 1', 'User 3', 'User b'])
  await bob.close()
  await until(() => room.participantCount === 2 && late.participantCount === 2)
  t.same(namesOf(room), ['User 1', 'User 3'])

  await room.leave()
  await room.leave()
  t.same([room.roomId, room.participants, room.participantCount], [undefined, [], 0])
  t.same(states, ['joining', 'in', 'out'])
  await until(() => late.participantCount === 1)
  t.equal(room.connection.state, 'open')
  await room.join('r2')
  t.equal((await room.connection.request('user:getRoom', { userId: 1 })).roomId, 'r2')
})

t.test('applies room:presence events in a big room', async (t) => {
  const server = await build(t, { env: { PRESENCE_COALESCE_OVER: '1' } })
  const { room } = enter(t, server, 1)
  await room.join('r1')
  const others = await Promise.all([2, 3, 4].map(async (id) => await server.connect(id)))
  for (const other of others) await other.ok('room:join', { roomId: 'r1' })
  await until(() => room.participantCount === 4)
  t.same(namesOf(room).sort(), ['User 1', 'User 2', 'User 3', 'User 4'])
  for (const other of others) await other.close()
  await until(() => room.participantCount === 1)
  t.same(namesOf(room), ['User 1'])
})

t.test('rejoins after a lost connection', async (t) => {
  const { room, states } = enter(t, server, 1)
  await room.join('r3', { pin: '1234' })
  const bob = await server.connect(2)
  await bob.ok('room:join', { roomId: 'r3', pin: '1234' })
  for (const session of server.app.sockets.ofUser('1')) session.terminate()
  await until(() => states.length === 4)
  t.same(states, ['joining', 'in', 'rejoining CONNECTION_LOST', 'in'])
  t.same(namesOf(room).sort(), ['User 1', 'User 2'], 'the pin is sent again')
  await bob.event('room:userLeft')
  await bob.event('room:userJoined')
})

t.test('rejoins after a server outage', async (t) => {
  const relay = await createRelay(t, server.url)
  const { room, states } = enter(t, relay, 1)
  await room.join('r4')
  await relay.cut()
  await until(() => room.state === 'rejoining')
  await relay.mend()
  await until(() => room.state === 'in')
  t.same(states, ['joining', 'in', 'rejoining CONNECTION_LOST', 'in'])
})

t.test('leaves a closed room', async (t) => {
  const { room, states } = enter(t, server, 1)
  await room.join('r5')
  t.equal((await server.admin('POST', '/admin/rooms/r5/close', {})).status, 204)
  await until(() => room.state === 'out')
  t.same(states, ['joining', 'in', 'out ROOM_CLOSED'])
  t.equal(room.connection.state, 'open')
})

t.test('rejects a failed join with the reason', async (t) => {
  const server = await build(t, { env: { MAX_CLIENTS_PER_ROOM: '1' } })
  await (await server.connect(2)).ok('room:join', { roomId: 'r1' })
  const { room, states } = enter(t, server, 1)
  await t.rejects(room.join('r1'), { code: 'ROOM_FULL' })
  t.same(states, ['joining', 'out ROOM_FULL'])
  await room.join('r2')
  t.equal(room.state, 'in')

  const { room: unknown } = enter(t, server, 1, { token: () => 'no.good.token' })
  await t.rejects(unknown.join('r3'), { code: 'UNAUTHORIZED' })
  t.equal(unknown.state, 'out')
})

t.test('a banned user cannot rejoin', async (t) => {
  const { room } = enter(t, server, 1)
  await room.join('r6')
  t.equal((await server.admin('POST', '/admin/rooms/r6/kick', { userId: 1, banSeconds: 60 })).status, 204)
  await until(() => room.state === 'out')
  await t.rejects(room.join('r6'), { code: 'BANNED' })
})

t.test('the last of several joins wins', async (t) => {
  const { room } = enter(t, server, 1)
  const [first, second] = [room.join('r7'), room.join('r8')]
  await t.rejects(first, { code: 'CLOSED' })
  await second
  t.equal(room.roomId, 'r8')
  t.equal((await room.connection.request('user:getRoom', { userId: 1 })).roomId, 'r8')
})

for (const { code, roomId, pin, env, state } of [
  { code: 'PIN_WRONG', roomId: 'b', pin: '9999', env: {}, state: 'out' },
  { code: 'VALIDATION_FAILED', roomId: 'a', pin: 'x', env: {}, state: 'out' },
  { code: 'RATE_LIMITED', roomId: 'b', pin: '1234', env: { JOINS_PER_MINUTE: '1' }, state: 'joining' }
]) {
  t.test(`leaves room a if the server rejects a join to room ${roomId} with ${code}`, async (t) => {
    const server = await build(t, { env: { FEATURES: 'auth,seats', ...env } })
    const [witness, other] = [await server.connect(2), await server.connect(3)]
    await witness.ok('room:join', { roomId: 'a' })
    await other.ok('room:join', { roomId: 'b', pin: '1234' })
    const { room } = enter(t, server, 1)
    await room.join('a')
    await room.seats.takeFree()
    const joining = room.join(roomId, { pin })
    t.match(await witness.event('seat:cleared'), { userId: 1, reason: 'left' })
    await witness.event('room:userLeft')
    t.equal(room.state, state)
    if (state === 'out') await t.rejects(joining, { code })
  })
}

t.test('joins the same room again without leaving it', async (t) => {
  const { room, states } = enter(t, server, 1)
  await room.join('r11')
  await room.seats.takeFree()
  const witness = await server.connect(2)
  await witness.ok('room:join', { roomId: 'r11' })
  await room.join('r11')
  t.equal(room.seats.own?.seatIndex, 0)
  t.same(states, ['joining', 'in', 'joining', 'in'])
  t.same(witness.events.filter(({ type }) => ['room:userLeft', 'seat:cleared'].includes(type)), [])
})

t.test('loads participants page by page', async (t) => {
  const crowd = await Promise.all(Array.from({ length: 205 }, async (_, i) => await server.connect(1000 + i)))
  for (const one of crowd) await one.ok('room:join', { roomId: 'r9' })
  const { room } = enter(t, server, 1)
  await room.join('r9')
  t.equal(room.participantCount, 206)
  t.ok(room.participants.length < 200, 'the join reply lists some members')
  t.equal(await room.loadParticipants(), true, 'returns true if more pages follow')
  t.ok(room.participants.length < 206)
  t.equal(await room.loadParticipants(), false)
  t.equal(new Set(namesOf(room)).size, 206)
  t.equal(room.participants.length, 206)
  await crowd[150]?.close()
  await until(() => room.participants.length === 205)
  await room.leave()
  await room.join('r9')
  t.equal(await room.loadParticipants(), true, 'starts again from the first page')
})

t.test('loadParticipants() rejects on errors', async (t) => {
  const relay = await createRelay(t, server.url)
  const { room } = enter(t, relay, 1)
  await t.rejects(room.loadParticipants(), { code: 'NOT_CONNECTED' })
  await room.connection.connect()
  await t.rejects(room.loadParticipants(), { code: 'NOT_IN_ROOM' })
  await room.join('r10')
  relay.freeze()
  const lost = room.loadParticipants()
  await relay.cut()
  await t.rejects(lost, { code: 'CONNECTION_LOST' })
  t.same(namesOf(room), ['User 1'], 'earlier participants stay visible')
})

t.test('updates `ownerId` when the owner changes', async (t) => {
  const server = await build(t, { env: { OWNER_GRACE_SECONDS: '1', FEATURES: 'auth' } })
  const { room: owner } = enter(t, server, 1)
  const { room: successor } = enter(t, server, 2)
  await owner.join('r1')
  await successor.join('r1')
  t.same([successor.role, successor.ownerId], ['member', 1])
  const changed = Promise.withResolvers<void>()
  successor.on('participants', () => { if (successor.ownerId === 2) changed.resolve() })
  await owner.leave()
  t.equal(owner.ownerId, undefined)
  await changed.promise
  t.equal(successor.role, 'owner')
  await owner.join('r1')
  t.same([owner.role, owner.ownerId], ['member', 2])
})
