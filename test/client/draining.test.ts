import t from 'tap'
import { RoomClient } from '../../client/index.ts'
import { build, tokenFor } from '../support/build.ts'
import { redisDatabase } from '../support/redis.ts'
import { until } from '../support/retry.ts'
import { createRelay } from './relay.ts'
import { backoff } from './watch.ts'

// The relay acts as a load balancer, which sends new connections to the second server before the first server drains.

for (const single of ['false', 'true']) {
  t.test(`moves to another server before the first one stops, with SINGLE_SESSION=${single}`, async (t) => {
    const env = { REDIS_URL: await redisDatabase(), SINGLE_SESSION: single }
    const [a, b] = [await build(t, { env }), await build(t, { env })]
    const relay = await createRelay(t, a.url)
    const room = new RoomClient({ url: relay.url, token: () => tokenFor(1), audio: false, backoff })
    t.teardown(() => room.close())
    const states: string[] = []
    await room.join('r1', { pin: '1234' })
    await room.seats.takeFree()
    room.on('state', (state) => states.push(state))
    room.connection.on('state', (state) => states.push(state))
    const witness = await b.connect(2)
    await witness.ok('room:join', { roomId: 'r1', pin: '1234' })
    let entered = 0
    room.on('entered', () => { entered++ })

    await relay.mend(b.url)
    t.equal(await a.app.drain.begin(2), 'empty', 'the first server has no session left')
    await until(() => entered === 1)
    t.same(states, [], 'the client stays in the room and connected')
    t.match([...b.app.sockets.ofUser('1')], [{ roomId: 'r1' }])
    await room.connection.request('chat:message', { content: 'here' })
    await witness.event('chat:message')
    t.equal(room.seats.own?.seatIndex, 0)
    await a.close()
    t.same(witness.events.filter(({ type }) => ['room:userLeft', 'room:userJoined', 'seat:cleared'].includes(type)), [], 'other members receive no event')
  })
}

t.test('a join that creates a room on a draining server continues on another server', async (t) => {
  const env = { REDIS_URL: await redisDatabase() }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const relay = await createRelay(t, a.url)
  const room = new RoomClient({ url: relay.url, token: () => tokenFor(1), audio: false, backoff })
  t.teardown(() => room.close())
  await room.connection.connect()
  await relay.mend(b.url)
  const drained = a.app.drain.begin(2)
  await room.join('new')
  t.match([...b.app.sockets.ofUser('1')], [{ roomId: 'new' }])
  t.equal(await drained, 'empty')
})

t.test('stays on the server and reconnects if there is no other server', async (t) => {
  const server = await build(t)
  const room = new RoomClient({ url: server.url, token: () => tokenFor(1), audio: false, backoff })
  t.teardown(() => room.close())
  await room.join('r1')
  t.equal(await server.app.drain.begin(0.5), 'deadline')
  t.equal(room.state, 'in')
  await server.close()
  await until(() => room.state === 'rejoining')
})

t.test('a closed client does not move', async (t) => {
  const server = await build(t)
  const room = new RoomClient({ url: server.url, token: () => tokenFor(1), audio: false, backoff })
  await room.join('r1')
  const draining = server.app.drain.begin(10)
  room.close()
  t.equal(await draining, 'empty')
  t.equal(room.connection.state, 'closed')
})
