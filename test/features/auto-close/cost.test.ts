import t from 'tap'
import { build } from '../../support/build.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { abandon, names, occupy, removals, sweeping } from './support.ts'

t.test('a sweep costs the same with 20 rooms and with 2,000', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth', REDIS_URL: await redisDatabase() } })
  const { redis, store } = server.app
  const removed = removals(server)
  const hour = Date.now() - 3_600_000

  const monitor = await redis.duplicate().monitor()
  t.teardown(() => monitor.disconnect())
  let commands: string[][] = []
  monitor.on('monitor', (_time: string, args: string[]) => commands.push(args))

  /** @returns what Redis was asked, and did in scripts, about rooms, while three of them were found and closed */
  async function look (due: readonly string[]): Promise<string[]> {
    await abandon(store, due, hour)
    // Of rooms that were closed before it is still made sure that it is known.
    await until(async () => (await redis.keys('msab:jobs:*')).length === 0)
    await redis.config('RESETSTAT')
    await redis.echo('begin')
    await until(() => commands.some(([, text]) => text === 'begin'))
    commands = []
    const before = removed.length
    const sweep = sweeping(t, server, 60_000)
    await until(() => removed.length - before >= due.length)
    await sweep.stop()
    t.same(removed.slice(before).map(({ roomId }) => roomId).sort(), due)
    await redis.echo('end')
    await until(() => commands.some(([, text]) => text === 'end'))
    const stats = await redis.info('commandstats')
    t.notMatch(stats, /cmdstat_(keys|[hsz]?scan|sort|randomkey):/)
    t.match(stats, 'cmdstat_zrangebyscore:')
    return commands.filter((args) => args.some((arg) => arg.startsWith('msab:room')))
      // A script is sent in full when it is run for the first time.
      .map(([name = '', ...args]) => `${name.toLowerCase().replace('evalsha', 'eval')} ${args.filter((arg) => arg.startsWith('msab:room')).map((key) => key.replace(/\{.*\}/, '{}')).join(' ')}`)
      .sort()
  }

  await occupy(store, names('busy', 9))
  await abandon(store, names('young', 8), Date.now())
  const few = await look(names('due', 3))
  await occupy(store, names('busy', 991))
  await abandon(store, names('young', 989), Date.now())
  const many = await look(names('late', 3))
  t.same(many, few)
  t.ok(few.length > 3 && few.length < 60, `${few.length} commands`)
  t.equal((await store.listRooms('', 3000)).length, 991 + 989)
})
