import t from 'tap'
import { until } from '../../support/retry.ts'
import { produce, scene, seatsOf } from './scene.ts'

// Disables and enables seats in an active room.

t.test('enabling the feature closes the producers of users without a seat', async (t) => {
  const { server, owner, member, other } = await scene(t, {})
  const toggle = (action: string) => server.app.features[action as 'enable' | 'disable']('seats')
  const producers = () => server.app.sfu.producersOf('r1').map(({ producerId }) => producerId)
  await member.ok('seat:take', { seatIndex: 0 })
  const seated = await produce(member)
  await owner.ok('seat:mute', { userId: 3 })
  await until(() => server.app.sfu.producersOf('r1')[0]?.isPaused === true)

  await toggle('disable')
  await until(() => server.app.sfu.producersOf('r1')[0]?.isPaused === false)
  const standing = await produce(other)
  await member.ok('audio:closeProducer', { producerId: seated })
  const again = await produce(member)
  t.strictSame(new Set(producers()), new Set([standing, again]), 'without seats all users may send audio')

  await toggle('enable')
  t.strictSame(producers(), [again], 'the user who kept a seat may send audio')
  await until(() => server.app.sfu.producersOf('r1')[0]?.isPaused === true)
  await owner.ok('seat:unmute', { userId: 3 })
  await until(() => server.app.sfu.producersOf('r1')[0]?.isPaused === false)
  t.equal(await other.fails('transport:create', { type: 'nothing' }), 'VALIDATION_FAILED')
  await member.ok('seat:leave')
  await until(() => producers().length === 0)
  t.pass('the audio ends with the seat')
})

t.test('a user who left while the feature was disabled loses the seat', async (t) => {
  const { server, member, other } = await scene(t, { SEAT_GRACE_SECONDS: '0' })
  await member.ok('seat:take', { seatIndex: 0 })
  await server.app.features.disable('seats')
  await member.ok('room:leave')
  await server.app.features.enable('seats')
  await until(async () => (await other.request('seat:take', { seatIndex: 0 })).ok)
  t.match(await seatsOf(server), { seats: [{ seatIndex: 0, userId: '4' }] })
})

t.test('a user who left while the feature was disabled loses the seat, even in an empty room', async (t) => {
  const { server, owner, admin, member, other } = await scene(t, { SEAT_GRACE_SECONDS: '0' })
  await member.ok('seat:take', { seatIndex: 0 })
  await server.app.features.disable('seats')
  for (const client of [member, owner, admin, other]) await client.ok('room:leave')
  await server.app.features.enable('seats')
  await other.ok('room:join', { roomId: 'r1' })
  await until(async () => (await other.request('seat:take', { seatIndex: 0 })).ok)
  t.match(await seatsOf(server), { seats: [{ seatIndex: 0, userId: '4' }] })
})

t.test('a user who leaves while the feature is being enabled loses the seat', async (t) => {
  const { server, member, other } = await scene(t, { SEAT_GRACE_SECONDS: '0' })
  await member.ok('seat:take', { seatIndex: 0 })
  await server.app.features.disable('seats')
  const settings = server.app.kv.namespace('features')
  const { compareAndSet } = settings
  // At this point, the new feature instance is built but not yet active.
  settings.compareAndSet = async (...args) => {
    await member.ok('room:leave')
    return await compareAndSet(...args)
  }
  await server.app.features.enable('seats')
  settings.compareAndSet = compareAndSet
  await until(async () => (await other.request('seat:take', { seatIndex: 0 })).ok)
  t.match(await seatsOf(server), { seats: [{ seatIndex: 0, userId: '4' }] })
})
