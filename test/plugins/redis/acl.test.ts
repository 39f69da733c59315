import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { startBackend } from '../../support/backend.ts'
import { build, tokenFor } from '../../support/build.ts'
import { redisClient, startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

const docs = readFileSync(join(import.meta.dirname, '..', '..', '..', 'docs', 'deployment.md'), 'utf8')

/** @returns the arguments of a user's documented ACL command */
const documented = (user: string) => new RegExp(`^ACL (SETUSER ${user} .+)$`, 'm').exec(docs)?.[1]?.split(' ') ?? []

t.test('the servers and the backend need only the documented rights in Redis', async (t) => {
  const redis = await startRedis(t)
  const admin = await redisClient(t, redis)
  for (const user of ['flylive', 'backend']) t.equal(await admin.call('ACL', ...documented(user)), 'OK', user)
  const urlFor = (user: string) => redis.url.replace('//', `//${user}:THE-PASSWORD@`)
  const backend = await startBackend(t, { redisUrl: urlFor('backend') })
  const env = { REDIS_URL: urlFor('flylive'), ...backend.env, FEATURES: '' }
  const [a, b] = [await build(t, { env }), await build(t, { env: { ...env, REDIS_URL: '', REDIS_HOST: '127.0.0.1', REDIS_PORT: String(redis.port), REDIS_USERNAME: 'flylive', REDIS_PASSWORD: 'THE-PASSWORD' } })]
  t.equal((await fetch(`${a.url}/readyz`)).status, 200)
  backend.rooms.set('r1', 1)

  const [ada, bob] = [await a.connect(1), await b.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  await ada.ok('seat:take', { seatIndex: 0 })
  await bob.event('seat:updated')
  await ada.ok('chat:message', { content: 'hello' })
  await bob.event('chat:message')
  await ada.ok('gift:send', { giftId: 1, recipientId: 2 })
  await bob.event('gift:received')
  await bob.ok('user:getRoom', { userId: 1 })
  await bob.ok('lobby:list')
  await bob.ok('room:participants')
  await ada.ok('room:react', { emoji: '👏' })
  await backend.publish('balance.updated', { user_id: 2, payload: { coins: 5 } })
  await bob.event('balance.updated')
  t.equal((await a.admin('PATCH', '/admin/features/chat/config', { history: 7 })).status, 200)
  await until(() => b.app.features.list().some(({ name, config }) => name === 'chat' && config.history === 7))
  t.equal((await fetch(`${a.url}/admin/rooms`, { headers: { authorization: 'Bearer wrong' } })).status, 401)
  t.equal((await a.admin('POST', '/admin/rooms/r1/kick', { userId: 2, banSeconds: 60 })).status, 204)
  const token = tokenFor(3)
  await b.connect(3, { token })
  t.equal((await a.admin('POST', '/admin/tokens/revoke', { token })).status, 204)
  t.equal((await fetch(`${b.url}/auth/session`, { headers: { authorization: `Bearer ${token}` } })).status, 401)
  t.equal((await a.admin('POST', '/admin/rooms/r1/close')).status, 204)
  await ada.event('room:closed')

  t.same(await admin.call('ACL', 'LOG'), [], 'no command was denied')
  const keys = (await Promise.all([0, 3].map(async (db) => {
    await admin.select(db)
    return await admin.keys('*')
  }))).flat()
  t.same(keys.filter((key) => !key.startsWith('msab:') && !key.startsWith('auth:revoked:')), [], 'all keys begin with msab: or auth:revoked:')
  t.ok(keys.some((key) => key.startsWith('msab:ratelimit:')) && keys.some((key) => key.startsWith('auth:revoked:')))
})
