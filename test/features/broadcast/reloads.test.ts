import t from 'tap'
import { build, tokenFor } from '../../support/build.ts'
import { hlsClient } from '../../support/hls.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

// Tests reloads of the feature on a server that copies the broadcasts of another server.

t.setTimeout(120_000)

const REDIS_URL = await redisDatabase()
const optionsOf = (NODE_ID: string) => ({ env: { REDIS_URL, NODE_ID, FEATURES: 'auth,media,broadcast' } })
const first = await build(t, optionsOf('first'))
const second = await build(t, optionsOf('second'))
const reload = async () => await second.admin('POST', '/admin/features/broadcast/reload')

t.test('a copy that was opened during a reload receives new parts, and ends with the broadcast', async (t) => {
  const { cluster } = second.app
  const { ask } = cluster
  const [reached, reloaded] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  Object.assign(cluster, {
    async ask (...args: Parameters<typeof ask>) {
      const reply = await ask(...args)
      if (args[1] === 'broadcast:parts') {
        reached.resolve()
        await reloaded.promise
      }
      return reply
    }
  })
  t.teardown(() => Object.assign(cluster, { ask }))
  // From this reload on, the feature calls the replaced method.
  t.match(await reload(), { status: 200 })
  const owner = await first.connect(1)
  await owner.ok('room:join', { roomId: 'r1' })
  await owner.ok('broadcast:start')
  await hlsClient(`${first.url}/hls/r1`).playlist('live.m3u8')
  const { get, playlist } = hlsClient(`${second.url}/hls/r1`)
  const opening = get('live.m3u8')
  await reached.promise
  t.match(await reload(), { status: 200 })
  reloaded.resolve()
  await opening

  const { last } = await playlist('live.m3u8')
  await until(async () => (await playlist('live.m3u8')).last > last)
  await owner.ok('broadcast:stop')
  await until(async () => (await get('live.m3u8')).status === 404)
})

t.test('after a failed reload, the server continues to serve a broadcast that another server takes over', async (t) => {
  const [ada, bob] = [await first.connect(1), await second.connect(2)]
  await bob.ok('room:join', { roomId: 'r2' })
  await bob.ok('broadcast:start')
  const { get, playlist } = hlsClient(`${second.url}/hls/r2`)
  await playlist('live.m3u8')
  await ada.ok('room:join', { roomId: 'r2' })

  const { hasRoute } = second.app
  // The feature finds out that its routes belong to the server itself, when most of its parts are running.
  Object.assign(second.app, { hasRoute: () => true })
  t.match(await reload(), { status: 422, body: { error: { code: 'FEATURE_LOAD_FAILED' } } })
  Object.assign(second.app, { hasRoute })

  await bob.ok('room:leave')
  const packager = async () => ((await first.admin('GET', '/admin/broadcasts')).body?.['broadcasts'] as { nodeId: string }[])[0]?.nodeId
  await until(async () => await packager() === first.app.nodeId)
  const { last } = await playlist('live.m3u8')
  await until(async () => (await playlist('live.m3u8')).last > last)
  t.equal((await first.admin('POST', '/admin/rooms/r2/close')).status, 204)
  await until(async () => (await get('live.m3u8')).status === 404)
})

t.test('a broadcast that starts while a reload waits for a request is packaged only once', async (t) => {
  const { sfu, store } = second.app
  const [{ mix }, { getRoom }] = [sfu, store]
  t.teardown(() => Object.assign(sfu, { mix }) && Object.assign(store, { getRoom }))
  const owner = await second.connect(3)
  await owner.ok('room:join', { roomId: 'r3' })
  const [requested, answered] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  Object.assign(store, {
    async getRoom (roomId: string) {
      if (roomId === 'waiting') {
        requested.resolve()
        await answered.promise
      }
      return await getRoom(roomId)
    }
  })
  const request = fetch(`${second.url}/api/rooms`, { method: 'POST', headers: { authorization: `Bearer ${tokenFor(3)}`, 'content-type': 'application/json' }, body: '{"roomId":"waiting"}' })
  await requested.promise
  const generation = async () => ((await second.admin('GET', '/admin/features')).body?.['features'] as { name: string, generation: number }[]).find(({ name }) => name === 'broadcast')?.generation
  const before = await generation()
  const reloaded = reload()
  await until(async () => await generation() !== before)

  // Both generations now open the mix.
  const opened: Awaited<ReturnType<typeof mix>>[] = []
  const go = Promise.withResolvers<void>()
  Object.assign(sfu, {
    async mix (roomId: string) {
      const handle = await mix(roomId)
      opened.push(handle)
      await go.promise
      return handle
    }
  })
  await owner.ok('broadcast:start')
  await until(() => opened.length === 2)
  go.resolve()
  await hlsClient(`${second.url}/hls/r3`).playlist('live.m3u8')
  t.equal(opened.filter(({ closed }) => !closed).length, 1)
  answered.resolve()
  t.equal((await request).status, 201)
  t.match(await reloaded, { status: 200 })
  await owner.ok('broadcast:stop')
  await until(() => opened.every(({ closed }) => closed))
})
