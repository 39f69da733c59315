import t from 'tap'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { hurry, scene, seatsOf } from './scene.ts'

t.test('timed changes run even if Redis loses its data', async (t) => {
  const redis = await startRedis(t)
  const { server, owner, member, other } = await scene(t, { REDIS_URL: redis.url })
  await member.ok('seat:take', { seatIndex: 0 })
  await owner.ok('seat:invite', { userId: '4', seatIndex: 1 })
  await member.close()
  await owner.event('room:userLeft')
  await until(async () => (await seatsOf(server)).seats[0]?.awayUntil !== null)
  await hurry(server, 5000)

  await redis.kill()
  await redis.start()
  t.same(await owner.event('seat:invite:pending', ({ isPending }) => isPending === false), { roomId: 'r1', seatIndex: 1, isPending: false, invitedUserId: '4' })
  t.same(await owner.event('seat:cleared'), { roomId: 'r1', seatIndex: 0, userId: 3, reason: 'disconnected' })
  await until(() => other.ok('seat:take', { seatIndex: 0 }))
})

t.test('a seat can still be cleared after a failed write', async (t) => {
  const redis = await startRedis(t)
  const { server, owner, member } = await scene(t, { SEAT_GRACE_SECONDS: '0', REDIS_URL: redis.url })
  await member.ok('seat:take', { seatIndex: 0 })
  // Deny the server access to the keys of the seat state, but to no other keys.
  await server.app.redis.call('ACL', 'SETUSER', 'default', 'resetkeys', '~*[^s]', '~*[^c]s')
  t.equal(await owner.fails('seat:take', { seatIndex: 1 }), 'UNAVAILABLE')
  await member.close()
  await owner.event('room:userLeft')
  await server.app.redis.call('ACL', 'SETUSER', 'default', 'allkeys')
  t.same(await owner.event('seat:cleared'), { roomId: 'r1', seatIndex: 0, userId: 3, reason: 'disconnected' })
})
