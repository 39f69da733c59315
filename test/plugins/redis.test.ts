import t from 'tap'
import { build } from '../support/build.ts'
import { startRedis } from '../support/redis.ts'

t.test('a command can be defined and used while a pipeline is being filled', async (t) => {
  const { app } = await build(t, { env: { REDIS_URL: (await startRedis(t)).url } })
  const { redis } = app
  const commands = redis as unknown as Record<string, (key: string) => Promise<unknown>>
  const before = redis.set('a', '1')
  redis.defineCommand('later', { numberOfKeys: 1, lua: "return redis.call('GET', KEYS[1])" })
  const used = commands.later?.('a')
  const after = redis.get('a')
  t.equal(await before, 'OK')
  t.ok([null, '1'].includes(await used as string | null), 'it is answered, on its own')
  t.equal(await after, '1')
  t.same(redis.options.autoPipeliningIgnoredCommands, [], 'from now on it travels with others')
  t.same(await Promise.all([commands.later?.('a'), redis.get('a')]), ['1', '1'])
})
