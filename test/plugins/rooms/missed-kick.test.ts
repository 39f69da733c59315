import t from 'tap'
import { build } from '../../support/build.ts'
import { deafen } from '../../support/deaf.ts'
import { redisDatabase } from '../../support/redis.ts'

t.test('a kick applies on a server that misses the message', async (t) => {
  const env = { FEATURES: 'auth,moderation', REDIS_URL: await redisDatabase() }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const owner = await a.connect('owner')
  await owner.ok('room:join', { roomId: 'r1' })
  const [kicked, banned, other] = [await b.connect('kicked'), await b.connect('banned'), await b.connect('kicked')]
  for (const client of [kicked, banned]) await client.ok('room:join', { roomId: 'r1' })

  const heal = deafen(b)
  await owner.ok('room:kick', { userId: 'kicked' })
  await owner.ok('room:kick', { userId: 'banned', banSeconds: 3600 })
  t.ok((await banned.request('room:participants')).ok, 'the message was missed')
  await heal()
  await other.ok('room:join', { roomId: 'r1' })

  for (const client of [kicked, banned]) t.match(await client.closed, { code: 4403 })
  t.ok((await other.request('room:participants')).ok, 'a session that joined after the kick stays in the room')
})
