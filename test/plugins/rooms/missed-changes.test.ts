import t from 'tap'
import { build } from '../../support/build.ts'
import { deafen } from '../../support/deaf.ts'
import { redisDatabase } from '../../support/redis.ts'

t.test('after a partition, members receive the changes of owner, roles and slow mode that they missed', async (t) => {
  const env = { FEATURES: 'auth,chat,moderation', REDIS_URL: await redisDatabase() }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const [owner, other, friend, member] = [await a.connect(1), await a.connect(2), await a.connect(4), await b.connect(3)]
  for (const client of [owner, other, friend, member]) await client.ok('room:join', { roomId: 'r1' })
  const heal = deafen(b)
  await owner.ok('chat:slowMode', { seconds: 30 })
  await owner.ok('room:setRole', { userId: 4, role: 'admin' })
  await owner.ok('room:transfer', { userId: 2 })
  await heal()
  t.same(await member.event('room:owner'), { roomId: 'r1', ownerId: 2, previousOwnerId: 1 })
  t.same(await member.event('room:role'), { roomId: 'r1', userId: 4, role: 'admin' })
  t.same(await member.event('chat:mode'), { roomId: 'r1', slowModeSeconds: 30 })
})
