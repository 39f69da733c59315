import t from 'tap'
import type { Test } from 'tap'
import { RoomClient } from '../../client/index.ts'
import type { JoinReply } from '../../client/index.ts'
import { build, tokenFor } from '../support/build.ts'
import type { TestServer } from '../support/build.ts'
import { until } from '../support/retry.ts'
import { createRelay } from './relay.ts'
import { backoff, watch } from './watch.ts'

async function turn (t: Test, server: TestServer, feature: string, way: 'on' | 'off') {
  const { status, body } = await server.admin('POST', `/admin/features/${feature}/${way === 'on' ? 'enable' : 'disable'}`)
  t.equal(status, 200, `${feature} ${way}: ${JSON.stringify(body?.error)}`)
}

function enter (t: Test, url: string, id: string | number) {
  const room = new RoomClient({ url, token: () => tokenFor(id), audio: false, backoff })
  t.teardown(() => room.close())
  const states: string[] = []
  const replies: JoinReply[] = []
  room.on('state', (state, why) => states.push(why ? `${state} ${why.code}` : state))
  room.on('entered', (reply) => replies.push(reply))
  return { room, states, replies }
}

const env = { FEATURES: 'auth,media,seats,chat' }

t.test('tracks the features of the server', async (t) => {
  const server = await build(t, { env })
  const relay = await createRelay(t, server.url)
  const { connection, reached } = watch(t, { url: relay.url })
  const seen: string[] = []
  connection.on('features', (features) => seen.push([...features].sort().join()))
  t.same([...connection.features], [])
  await connection.connect()
  await turn(t, server, 'chat', 'off')
  await until(() => !connection.features.has('chat'))
  await t.rejects(connection.request('chat:message', { content: 'anybody?' }), { code: 'FEATURE_DISABLED' })
  await turn(t, server, 'chat', 'on')
  await until(() => connection.features.has('chat'))
  t.same(seen, ['auth,chat,media,seats', 'auth,media,seats', 'auth,chat,media,seats'])

  await relay.cut()
  await reached('waiting CONNECTION_LOST')
  await turn(t, server, 'seats', 'off')
  t.ok(connection.features.has('seats'), 'the known features are kept while disconnected')
  await relay.mend()
  await connection.connect()
  t.same([...connection.features].sort(), ['auth', 'chat', 'media'])
  t.same(seen.slice(3), ['auth,chat,media'])
})

t.test('restores seats and occupants when the feature is enabled again', async (t) => {
  const server = await build(t, { env })
  const [{ room: owner, states, replies }, { room: bob }] = [enter(t, server.url, 1), enter(t, server.url, 'b')]
  await owner.join('r1', { seatCount: 4, pin: '1234' })
  await bob.join('r1', { pin: '1234' })
  await bob.connection.request('seat:take', { seatIndex: 2 })
  await owner.connection.request('seat:lock', { seatIndex: 3 })
  await until(() => bob.seats.own !== undefined && owner.seats.list[3]?.isLocked === true)

  await turn(t, server, 'seats', 'off')
  await until(() => [owner, bob].every(({ seats }) => !seats.enabled))
  t.same([bob.seats.count, bob.seats.list, bob.seats.own, bob.seats.sitting], [0, [], undefined, undefined])
  t.equal(await bob.seats.takeFree(), undefined)
  await t.rejects(bob.connection.request('seat:take', { seatIndex: 0 }), { code: 'FEATURE_DISABLED' })
  t.equal(owner.participants.find(({ userId }) => userId === 'b')?.seat, undefined)

  const { room: late } = enter(t, server.url, 3)
  await late.join('r1', { pin: '1234' })
  await until(() => owner.participantCount === 3)
  t.equal(late.seats.enabled, false)
  t.equal(replies.length, 1)

  await turn(t, server, 'seats', 'on')
  await until(() => [owner, bob, late].every(({ seats }) => seats.of('b')?.seatIndex === 2 && seats.list[3]?.isLocked === true))
  t.equal(bob.seats.own?.seatIndex, 2)
  await late.connection.request('seat:take', { seatIndex: 0 })
  await until(() => owner.seats.of(3)?.seatIndex === 0)
  t.same(states, ['joining', 'in'])
  t.equal(replies.length, 2, 'the client rejoins once')
  t.equal(owner.participantCount, 3)
  t.equal(owner.participants.length, 3)
})

t.test('restores the chat history when the feature is enabled again', async (t) => {
  const server = await build(t, { env })
  const { room, replies } = enter(t, server.url, 1)
  await room.join('r1')
  await room.connection.request('chat:message', { content: 'first' })
  await turn(t, server, 'chat', 'off')
  await until(() => !room.connection.features.has('chat'))
  await turn(t, server, 'chat', 'on')
  await until(() => replies.length === 2)
  t.match(replies[1]?.chatHistory, [{ content: 'first' }])
})

t.test('rejoins once when several features are enabled, without waiting for a disabled one', async (t) => {
  const server = await build(t, { env })
  const { room, replies } = enter(t, server.url, 1)
  await room.join('r1')
  for (let i = 0; i < 5; i++) {
    await Promise.all(['seats', 'chat'].map((feature) => turn(t, server, feature, 'off')))
    await Promise.all(['seats', 'chat'].map((feature) => turn(t, server, feature, 'on')))
  }
  await turn(t, server, 'chat', 'off')
  await until(() => room.seats.enabled && !room.connection.features.has('chat'))
  t.ok(replies.length <= 11, `${replies.length} replies`)
  await room.connection.request('seat:take', { seatIndex: 1 })
  await until(() => room.seats.own?.seatIndex === 1)
})

t.test('has the correct state when features change during a join', async (t) => {
  const server = await build(t, { env })
  const { room, states } = enter(t, server.url, 1)
  await room.join('r0')
  for (let i = 1; i <= 10; i++) {
    const way = i % 2 === 0 ? 'on' : 'off'
    await Promise.all([room.join(`r${i}`), turn(t, server, 'seats', way)])
    await until(() => room.seats.enabled === (way === 'on'))
  }
  await room.leave()
  await turn(t, server, 'chat', 'off')
  await turn(t, server, 'chat', 'on')
  await until(() => room.connection.features.has('chat'))
  t.same(await room.connection.request('user:getRoom', { userId: 1 }), { roomId: null }, 'a user who left is not rejoined')
  t.same(states.filter((state) => /[A-Z]/.test(state)), [], 'no error occurs')
})
