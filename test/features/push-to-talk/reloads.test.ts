import t from 'tap'
import { build } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { connectRadio } from '../../support/radio.ts'
import type { TestRadio } from '../../support/radio.ts'
import { redisDatabase, startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

const packet = Buffer.from([0xf8, 0xff, 0xfe])
const env = { FEATURES: 'auth,push-to-talk' }
const claims = { channelIds: [5] }

/** Delays the first call of a method until `go` is called. `reached` resolves when the method is called. */
function hold<K extends string> (object: Record<K, (...args: never[]) => Promise<unknown>>, method: K) {
  const [reached, mayGo] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const original = object[method]
  object[method] = async (...args) => {
    object[method] = original
    reached.resolve()
    await mayGo.promise
    return await original.apply(object, args)
  }
  return { reached: reached.promise, go: mayGo.resolve }
}

const reload = ({ admin }: TestServer) => admin('POST', '/admin/features/push-to-talk/reload')

/** Fails unless `to` (user 2) receives what `from` (user 1) sends to channel 5 and to user 2. */
async function assertHears (from: TestRadio, to: TestRadio): Promise<void> {
  from.send(0, 1, 1, 5)
  await to.next(1)
  from.send(0, 3, 1, 5, packet)
  await to.next(3)
  from.send(0, 2, 1, 5)
  await to.next(2)
  from.send(1, 17, 1, 2, 'private')
  await to.next(17)
}

t.test('radios that connect during a reload receive talks and messages', async (t) => {
  const server = await build(t, { env })
  const storing = hold(server.app.kv.namespace('features') as never, 'compareAndSet')
  const reloading = reload(server)
  await storing.reached
  const [ada, bob] = [await connectRadio(t, server.url, 1, { claims }), await connectRadio(t, server.url, 2, { claims })]
  storing.go()
  t.match(await reloading, { status: 200, body: { generation: 2 } })
  await assertHears(ada, bob)
})

t.test('a radio whose WebSocket opens after a reload that began earlier receives talks and messages', async (t) => {
  const server = await build(t, { env })
  const identifying = hold(server.app.directory as never, 'sessionsOf')
  const connecting = connectRadio(t, server.url, 2, { claims })
  await identifying.reached
  t.match(await reload(server), { status: 200, body: { generation: 2 } })
  identifying.go()
  const bob = await connecting
  await assertHears(await connectRadio(t, server.url, 1, { claims }), bob)
})

t.test('a radio that a reload interrupts while it joins its channels receives talks and messages', async (t) => {
  const server = await build(t, { env })
  const joining = hold(server.app.kv.namespace('push-to-talk:channels') as never, 'get')
  const connecting = connectRadio(t, server.url, 2, { claims })
  await joining.reached
  t.match(await reload(server), { status: 200, body: { generation: 2 } })
  joining.go()
  const bob = await connecting
  await assertHears(await connectRadio(t, server.url, 1, { claims }), bob)
})

t.test('a reload loses no membership update', async (t) => {
  const server = await build(t, { env: { ...env, REDIS_URL: await redisDatabase() } })
  const { kv, redis } = server.app
  const radios = await Promise.all([2, 3].map(async (id) => ({ id, radio: await connectRadio(t, server.url, id, { claims }) })))
  const update = async (userId: number) => await redis.publish('vp:membership_updates', JSON.stringify({ eventId: 'e', userId, channelIds: [6], action: 'set_user_channels' }))
  const channels = kv.namespace('push-to-talk:channels')
  const { compareAndSet, get } = channels
  const failed = new Set<string>()
  const fail = async (key: string) => {
    failed.add(key)
    throw new Error('connection lost')
  }
  // The update of user 2 is not stored before the reload. The update of user 3 is stored, but not applied.
  channels.get = async (key) => key === '2' ? await fail(key) : await get(key)
  channels.compareAndSet = async (...args) => {
    const isStored = await compareAndSet(...args)
    channels.get = fail
    return isStored
  }
  for (const { id } of radios) await until(async () => await update(id) > 0)
  await until(() => failed.size === 2)
  t.match(await reload(server), { status: 200 })
  t.equal(await update(4), 1, 'exactly one generation is subscribed')
  Object.assign(channels, { get, compareAndSet })
  for (const { id, radio } of radios) {
    await until(async () => {
      radio.send(0, 17, id, 6, 'x')
      await radio.flush()
      return radio.frames.some(([, type]) => type === 22)
    })
  }
})

t.test('a membership update is applied if the previous code stores it after a reload', async (t) => {
  const server = await build(t, { env: { ...env, REDIS_URL: await redisDatabase() } })
  const { kv, redis } = server.app
  const radio = await connectRadio(t, server.url, 2, { claims })
  const channels = kv.namespace('push-to-talk:channels')
  const { compareAndSet } = channels
  const reply = Promise.withResolvers<void>()
  let attempts = 0
  channels.compareAndSet = async (...args) => {
    if (++attempts > 1) throw new Error('connection lost')
    const isStored = await compareAndSet(...args)
    await reply.promise
    return isStored
  }
  await until(async () => await redis.publish('vp:membership_updates', JSON.stringify({ eventId: 'e', userId: 2, channelIds: [6], action: 'set_user_channels' })) > 0)
  await until(() => attempts > 0)
  t.match(await reload(server), { status: 200 })
  await until(() => attempts > 1)
  reply.resolve()
  channels.compareAndSet = compareAndSet
  await until(async () => {
    radio.send(0, 17, 2, 6, 'x')
    await radio.flush()
    return radio.frames.some(([, type]) => type === 22)
  })
})

t.test('a failed reload leaves no connection to Redis open', async (t) => {
  const redis = await startRedis(t)
  const server = await build(t, { env: { ...env, REDIS_URL: redis.url } })
  const connections = async () => String(await server.app.redis.call('CLIENT', 'LIST')).split('\n').filter((line) => line.includes(':push-to-talk')).length
  await until(async () => await connections() === 1)
  for (let i = 0; i < 3; i++) t.match(await server.admin('PATCH', '/admin/features/push-to-talk/config', { path: '/ws' }), { status: 422 })
  t.match(await server.admin('POST', '/admin/features/push-to-talk/disable'), { status: 200 })
  await until(async () => await connections() === 0)
})

t.test('radios reconnect after an admin changes the path', async (t) => {
  const server = await build(t, { env })
  const ada = await connectRadio(t, server.url, 1, { claims })
  t.match(await server.admin('PATCH', '/admin/features/push-to-talk/config', { path: '/radio' }), { status: 200 })
  await until(() => ada.ws.readyState === ada.ws.CLOSED)
  t.match(await ada.closed, { code: 1001, reason: 'SHUTTING_DOWN' })
  await connectRadio(t, server.url, 1, { claims, path: '/radio' })
})

t.test('disabling the feature ends the talks and disconnects the radios', async (t) => {
  const server = await build(t, { env: { ...env, PTT_RECORD: 'true' } })
  const ada = await connectRadio(t, server.url, 1, { claims })
  ada.send(0, 1, 1, 5)
  await ada.next(6)
  ada.send(0, 3, 1, 5, packet)
  await ada.flush()
  t.match(await server.admin('POST', '/admin/features/push-to-talk/disable'), { status: 200 })
  t.match(await ada.closed, { code: 1001 })
  t.match(await (await fetch(`${server.url}/metrics`)).text(), /^flylive_ptt_radios 0$/m)
  t.match(await server.admin('POST', '/admin/features/push-to-talk/enable'), { status: 200 })
  await until(async () => {
    const { body } = await server.admin('GET', '/admin/push-to-talk/talks')
    return (body as { talks: unknown[] }).talks.length === 1
  })
})
