import t from 'tap'
import { build } from '../../support/build.ts'
import { monitorRedis, redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { createEmptyRooms, names, createOccupiedRooms, removals, startSweep, storeElsewhere } from './support.ts'

t.test('a sweep costs the same with 20 rooms and with 2,000', async (t) => {
  const url = await redisDatabase()
  const server = await build(t, { env: { FEATURES: 'auth', REDIS_URL: url } })
  const { redis } = server.app
  const store = storeElsewhere(server)
  const removed = removals(server)
  const hour = Date.now() - 3_600_000

  let commands: string[][] = []
  await monitorRedis(t, url, (command) => commands.push(command))

  /**
   * Runs a sweep that closes the given rooms.
   *
   * @returns the Redis commands and script calls that accessed rooms during the sweep
   */
  async function look (due: readonly string[]): Promise<string[]> {
    await createEmptyRooms(store, due, hour)
    await until(async () => (await redis.keys('msab:jobs:*')).length === 0)
    await redis.config('RESETSTAT')
    await redis.echo('begin')
    await until(() => commands.some(([, text]) => text === 'begin'))
    commands = []
    const before = removed.length
    const sweep = startSweep(t, server, 60_000)
    await until(() => removed.length - before >= due.length)
    await sweep.stop()
    t.same(removed.slice(before).map(({ roomId }) => roomId).sort(), due)
    await redis.echo('end')
    await until(() => commands.some(([, text]) => text === 'end'))
    const stats = await redis.info('commandstats')
    t.notMatch(stats, /cmdstat_(keys|[hsz]?scan|sort|randomkey):/)
    t.match(stats, 'cmdstat_zrangebyscore:')
    return commands.filter((args) => args.some((arg) => arg.startsWith('msab:room')))
      // The first call to a script is EVAL instead of EVALSHA, because Redis has not loaded the script yet.
      .map(([name = '', ...args]) => `${name.toLowerCase().replace('evalsha', 'eval')} ${args.filter((arg) => arg.startsWith('msab:room')).map((key) => key.replace(/\{.*\}/, '{}')).join(' ')}`)
      .sort()
  }

  await createOccupiedRooms(store, names('busy', 9))
  await createEmptyRooms(store, names('young', 8), Date.now())
  const few = await look(names('due', 3))
  await createOccupiedRooms(store, names('busy', 991))
  await createEmptyRooms(store, names('young', 989), Date.now())
  const many = await look(names('late', 3))
  t.same(many, few)
  t.ok(few.length > 3 && few.length < 60, `${few.length} commands`)
  t.equal((await store.listRooms('', 3000)).length, 991 + 989)
})
