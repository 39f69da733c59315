import t from 'tap'
import { build, onBothStores, tokenFor } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import { emptyArray } from '../../support/empty-array.ts'
import { metricOf } from '../../support/metrics.ts'
import { connectRadio, radioToken } from '../../support/radio.ts'
import type { RadioOptions, TestRadio } from '../../support/radio.ts'
import { until } from '../../support/retry.ts'
import { createSigner } from 'fast-jwt'

const packet = Buffer.from([0xf8, 0xff, 0xfe])
const env = { FEATURES: 'auth,push-to-talk' }
const inFive: RadioOptions = { claims: { channelIds: [5] } }

/** @returns the text messages that a radio has received */
const textsOf = ({ frames }: TestRadio) => frames.filter(([, type]) => type === 17).map((frame) => (JSON.parse(String(frame[4])) as { text: string }).text)

/** Waits until the server stores a new time up to which a user has received all messages, then returns the time. */
async function nextSeen ({ app }: TestServer, userId: number, previous?: string): Promise<string> {
  return await until(async () => {
    const value = await app.kv.namespace('push-to-talk:seen').get(String(userId))
    return value !== undefined && value !== previous && value
  })
}

t.test('accepts valid tokens in headers and in subprotocols, and rejects invalid ones with 401', async (t) => {
  const { url } = await build(t, { env })
  const status = (options: RadioOptions) => connectRadio(t, url, 1, options).then(() => 101, (error: { status: number }) => error.status)
  t.equal(await status({}), 101)
  const radio = await connectRadio(t, url, 1, { via: 'subprotocols', deviceId: 'phone' })
  t.ok(radio.ws.protocol.startsWith('ey'), 'the server selects the token, as old routers do')
  t.equal(await status({ token: '' }), 401)
  t.equal(await status({ token: 'x.y.z' }), 401)
  t.equal(await status({ token: createSigner({ key: 'another-secret-that-is-long-enough-too', algorithm: 'HS256' })({ userId: 1 }) }), 401)
  t.equal(await status({ token: tokenFor('ada', {}) }), 101, "native tokens have the user's id in `id`")
  t.equal(await status({ token: createSigner({ key: 'a-secret-for-tests-that-is-long-enough', algorithm: 'HS256' })({ uid: 'u' }) }), 101)
  t.equal(await status({ token: createSigner({ key: 'a-secret-for-tests-that-is-long-enough', algorithm: 'HS256', expiresIn: -1000 })({ userId: 1 }) }), 401)
  t.equal(await status({ token: createSigner({ key: 'a-secret-for-tests-that-is-long-enough', algorithm: 'HS256' })({ name: 'nobody' }) }), 401)
  t.equal((await fetch(`${url}/ptt`)).status, 404)
})

t.test('uses the configured secret and path', async (t) => {
  const key = 'a-secret-of-the-radios-that-is-long-enough'
  const { url } = await build(t, { env: { ...env, PTT_JWT_SECRET: key, PTT_PATH: '/radio' } })
  const token = createSigner({ key, algorithm: 'HS256' })({ uid: 7 })
  await connectRadio(t, url, 7, { token, path: '/radio' })
  t.match(await connectRadio(t, url, 7, { path: '/radio' }).catch((error: unknown) => error), { status: 401 })
  t.match(await connectRadio(t, url, 7, { token }).catch((error: unknown) => error), { status: 404 })
})

onBothStores(t, 'relays talks in a channel', async (t, store) => {
  const server = await build(t, { env: { ...env, ...store } })
  const { url } = server
  const [ada, bob, eve] = await Promise.all([connectRadio(t, url, 1, inFive), connectRadio(t, url, 'bob', inFive), connectRadio(t, url, 3)])
  const frames = async () => [await metricOf(server, 'flylive_ptt_frames_received_total'), await metricOf(server, 'flylive_ptt_frames_sent_total')] as const
  const [received, sent] = await frames()

  ada.send(0, 1, 999, 5, 'hello')
  t.same(await ada.next(6), [0, 6, 1, 5, 'hello'], 'the payload is echoed')
  t.same(await bob.next(1), [0, 1, 1, 5, 'hello'], 'fromId is bound to the connection')
  bob.send(0, 1, 'bob', 5, null)
  t.same(await bob.next(8), [0, 8, 'bob', 5, 'Busy'])
  for (const outcome of ['started', 'busy']) t.equal(await metricOf(server, 'flylive_ptt_talks_total', { outcome }), 1, outcome)
  t.same(await frames(), [received + 2, sent + 3])
  for (let i = 0; i < 3; i++) ada.send(0, 3, 1, 5, packet)
  for (let i = 0; i < 3; i++) t.same(await bob.next(3), [0, 3, 1, 5, packet])
  bob.send(0, 3, 'bob', 5, packet)
  bob.send(0, 2, 'bob', 5, null)
  t.match((await bob.next(7)).slice(0, 4), [0, 7, 'bob', 5], 'a STOP without a talk is acknowledged')
  const before = Date.now()
  ada.send(0, 2, 1, 5, null)
  const [,,,, messageId, payload] = await ada.next(7)
  t.ok(Date.now() - before >= 50, 'the acknowledgement arrives after about 100 ms')
  t.match(messageId, /^0_3_5_1_\d{13}_\d+ms\.opus$/)
  t.equal(payload, 'Acknowledged')
  const stop = await bob.next(2)
  t.same(stop.slice(0, 4), [0, 2, 1, 5])
  t.match(JSON.parse(String(stop[4])), { message_id: messageId, duration: Number })

  bob.send(0, 1, 'bob', 5)
  t.same(await bob.next(6), [0, 6, 'bob', 5, 'Acknowledged'], 'the floor is free after the STOP')
  await ada.next(1)
  // If a radio sends START again during its transmission, the transmission ends immediately.
  bob.send(0, 2, 'bob', 5)
  bob.send(0, 1, 'bob', 5)
  await bob.next(6)
  await ada.next(1)
  t.same(ada.frames.filter(([, type]) => type === 1 || type === 2).map(([, type]) => type), [1, 2, 1])
  await bob.close()
  await ada.next(2)
  ada.send(0, 1, 1, 5)
  await ada.next(6)
  await ada.flush()
  t.equal(ada.frames.some(([, type]) => type === 3), false, 'audio without the floor is dropped')

  eve.send(0, 1, 3, 5, null)
  t.same(await eve.next(27), [0, 27, 3, 5, 'Unauthorized Group'])
  t.same(await eve.next(8), [0, 8, 3, 5, 'Ack Failed'])
  eve.send(0, 17, 3, 5, 'x')
  await eve.next(27)
  await eve.flush()
  t.equal(eve.frames.length, 6)
})

onBothStores(t, 'relays private talks', async (t, store) => {
  const { url } = await build(t, { env: { ...env, ...store } })
  const [ada, bob] = [await connectRadio(t, url, 1), await connectRadio(t, url, 2)]
  ada.send(1, 1, 1, 2, { any: 'type' })
  t.same(await ada.next(6), [1, 6, 1, 2, { any: 'type' }])
  t.same(await bob.next(1), [1, 1, 1, 2, { any: 'type' }])
  bob.send(1, 1, 2, 1, null)
  t.same(await bob.next(6), [1, 6, 2, 1, 'Acknowledged'], 'a private talk is never rejected as busy')
  ada.send(1, 3, 1, 2, packet)
  t.same(await bob.next(3), [1, 3, 1, 2, packet])
  ada.send(1, 2, 1, 2)
  const [,,,, messageId] = await ada.next(7)
  t.match(messageId, /^1_3_2_1_\d{13}_\d+ms\.opus$/)
  t.match(JSON.parse(String((await bob.next(2))[4])), { message_id: messageId })
})

onBothStores(t, 'acknowledges and relays messages', async (t, store) => {
  const { url } = await build(t, { env: { ...env, ...store } })
  const [ada, bob] = [await connectRadio(t, url, 1, inFive), await connectRadio(t, url, 2, inFive)]
  ada.send(0, 17, 1, 5, '{"text":"hi"}')
  const ack = await ada.next(22)
  t.match(ack[4], /^0_17_5_1_\d{13}\.txt$/)
  t.same(ack, [0, 22, 1, 5, ack[4], 'Acknowledged'])
  t.same(await bob.next(17), [0, 17, 1, 5, JSON.stringify({ message_id: ack[4], text: 'hi' })])
  ada.send(1, 17, 1, 2, 'plain')
  const second = await ada.next(22)
  t.same(await bob.next(17), [1, 17, 1, 2, JSON.stringify({ message_id: second[4], text: 'plain' })])
  ada.send(1, 23, 1, 2, { choice: 1 })
  const interactive = await ada.next(24)
  t.same(await bob.next(23), [1, 23, 1, 2, JSON.stringify({ message_id: interactive[4], text: '{"choice":1}' })])
  ada.send(0, 18, 1, 5, packet)
  const image = await ada.next(22)
  t.same(await bob.next(18), [0, 18, 1, 5, image[4], packet])
  // The server relays messages of these types to a single user, but ignores messages of these types to a channel.
  for (const type of [5, 10, 11, 12, 13, 20, 21]) {
    bob.send(0, type, 2, 5, 'to all')
    bob.send(1, type, 2, 1, 'to one')
    t.same(await ada.next(type), [1, type, 2, 1, 'to one'])
  }
  ada.send(1, 25, 1, 0, 'test')
  t.same(await ada.next(26), [1, 26, 0, 1, 'test'])
})

onBothStores(t, 'a newer radio of a user replaces the older one', async (t, store) => {
  const { url } = await build(t, { env: { ...env, ...store } })
  const first = await connectRadio(t, url, 1, { deviceId: 'a' })
  const second = await connectRadio(t, url, 1, { deviceId: 'a' })
  t.match(await first.closed, { code: 4409 })
  t.equal(first.frames.some(([, type]) => type === 9), false, 'the same device is replaced silently')
  await connectRadio(t, url, 1, { deviceId: 'b' })
  t.same(await second.next(9), [1, 9, 0, 1, 'userId 1 has logged in from another deviceId b'])
  t.match(await second.closed, { code: 4409 })
})

onBothStores(t, 'keeps messages for users who are offline', async (t, store) => {
  const { url } = await build(t, { env: { ...env, ...store, PTT_OFFLINE_MESSAGES: '3' } })
  const ada = await connectRadio(t, url, 1, inFive)
  const bob = await connectRadio(t, url, 2, inFive)
  ada.send(0, 17, 1, 5, 'while online')
  await bob.next(17)
  await bob.close()
  await ada.flush()
  for (const text of ['a', 'b', 'c', 'd']) ada.send(1, 17, 1, 2, text)
  ada.send(0, 17, 1, 5, 'to the channel')
  await ada.next(22, ([channelType]) => channelType === 0)
  await until(async () => ada.frames.filter(([, type]) => type === 22).length === 6)

  const again = await connectRadio(t, url, 2, inFive)
  // If reading the missed messages takes long, the server sends them after it has accepted the connection.
  await until(() => textsOf(again).length >= 4)
  t.same(textsOf(again), ['b', 'c', 'd', 'to the channel'], 'the oldest is dropped, and no message is repeated')
  await again.close()
  await until(async () => {
    const third = await connectRadio(t, url, 2, inFive)
    return third.frames.every(([, type]) => type !== 17)
  })
})

onBothStores(t, 'does not send messages to a user who was not a member of the channel at the time', async (t, store) => {
  const server = await build(t, { env: { ...env, ...store, PTT_SELF_JOIN: 'true' } })
  const { app, url } = server
  // Without this change, a message and a change of the membership could have the same time.
  const { now } = app.clock
  let last = 0
  Object.assign(app.clock, { now: () => (last = Math.max(last + 1, now())) })
  const ada = await connectRadio(t, url, 1, inFive)
  const say = async (text: string) => {
    ada.send(0, 17, 1, 5, text)
    await ada.next(22)
  }
  /** Waits for the first text, because the server sends missed messages later if reading them takes long. */
  const missedBy = async (radio: TestRadio) => {
    await radio.next(17)
    return textsOf(radio)
  }

  const bob = await connectRadio(t, url, 2, inFive)
  const seen = await nextSeen(server, 2)
  bob.send(0, 16, 2, 5)
  await bob.flush()
  await say('after USER_REMOVE')
  bob.send(0, 15, 2, 5)
  await bob.flush()
  await say('after USER_ADD')
  await bob.next(17)
  bob.ws.terminate()
  await nextSeen(server, 2, seen)
  t.same(await missedBy(await connectRadio(t, url, 2, inFive)), ['after USER_ADD'], 'only the message that the broken connection may have lost')

  const eve = await connectRadio(t, url, 3)
  const seenByEve = await nextSeen(server, 3)
  await eve.close()
  await nextSeen(server, 3, seenByEve)
  await say('before the token')
  const token = radioToken(3, { channelIds: [5], iat: Math.ceil(app.clock.now() / 1000) })
  const member = await connectRadio(t, url, 3, { token })
  t.same(textsOf(member), [])
  await member.close()
  await say('after the token')
  t.same(await missedBy(await connectRadio(t, url, 3, { token })), ['after the token'])

  if (!('REDIS_URL' in store)) return
  const joe = await connectRadio(t, url, 4)
  const seenByJoe = await nextSeen(server, 4)
  await joe.close()
  await nextSeen(server, 4, seenByJoe)
  await say('before the update')
  await app.redis.publish('vp:membership_updates', JSON.stringify({ eventId: 'e', userId: 4, channelIds: [5], action: 'set_user_channels' }))
  await until(async () => (await app.kv.namespace('push-to-talk:channels').get('4'))?.includes('"set"') === true)
  await say('after the update')
  t.same(await missedBy(await connectRadio(t, url, 4)), ['after the update'], 'the user was offline, but a member')
})

t.test('sends all missed messages, and repeats those that a broken connection may have lost', async (t) => {
  const server = await build(t, { env: { ...env, WS_BYTES_PER_SECOND: '10000000', WS_BYTES_BURST: '10000000' } })
  const ada = await connectRadio(t, server.url, 1)
  const image = Buffer.alloc(60_000, 1)
  // Together, these messages are larger than the maximum send queue of a connection.
  for (let i = 0; i < 30; i++) ada.send(1, 18, 1, 2, image)
  await until(() => ada.frames.filter(([, type]) => type === 22).length === 30)
  const bob = await connectRadio(t, server.url, 2)
  await until(() => bob.frames.filter(([, type]) => type === 18).length === 30)
  ada.send(1, 17, 1, 2, 'last words')
  const text = await bob.next(17)
  bob.ws.terminate()
  await until(() => server.app.sockets.size === 1)
  const again = await connectRadio(t, server.url, 2)
  t.same(await again.next(17), text, 'the repeated message has the same id')
})

t.test('sends a message again if its recipient disconnects while the message is being stored', async (t) => {
  const server = await build(t, { env })
  const ada = await connectRadio(t, server.url, 1)
  const bob = await connectRadio(t, server.url, 2)
  const seen = await nextSeen(server, 2)
  const log = server.app.kv.namespace('push-to-talk:log')
  const { set } = log
  const [storing, mayStore] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  log.set = async (...args) => {
    storing.resolve()
    await mayStore.promise
    await set(...args)
  }
  ada.send(1, 17, 1, 2, 'hello')
  await storing.promise
  await bob.close()
  await nextSeen(server, 2, seen)
  mayStore.resolve()
  await ada.next(22)
  t.match((await (await connectRadio(t, server.url, 2)).next(17))[4], /hello/)
})

t.test('sends messages again if the server has closed a connection that may have been broken', async (t) => {
  const server = await build(t, { env })
  const ada = await connectRadio(t, server.url, 1)
  for (const [userId, reason] of [[2, 'TOKEN_EXPIRED'], [3, 'REPLACED']] as const) {
    const bob = await connectRadio(t, server.url, userId)
    const seen = await nextSeen(server, userId)
    bob.ws.pause()
    ada.send(1, 17, 1, userId, 'hello')
    await ada.next(22)
    const { now } = server.app.clock
    Object.assign(server.app.clock, { now: () => now() + 30_000 })
    for (const session of server.app.sockets.ofUser(String(userId))) session.close(reason)
    await nextSeen(server, userId, seen)
    bob.ws.terminate()
    t.match((await (await connectRadio(t, server.url, userId)).next(17))[4], /hello/, reason)
  }
})

t.test('a drain ends soon after the last radio has left', async (t) => {
  const server = await build(t, { env })
  const ada = await connectRadio(t, server.url, 1, inFive)
  const drained = server.app.drain.begin(20)
  await ada.close()
  t.equal(await drained, 'empty')
})

t.test('follows membership updates from the backend, and lets users join channels on their own', async (t) => {
  const { redisDatabase } = await import('../../support/redis.ts')
  const server = await build(t, { env: { ...env, PTT_SELF_JOIN: 'true', REDIS_URL: await redisDatabase() } })
  const { app, url } = server
  const [ada, bob] = [await connectRadio(t, url, 1, inFive), await connectRadio(t, url, 2, inFive)]
  const update = async (userId: number, channelIds: unknown[]) => await app.redis.publish('vp:membership_updates', JSON.stringify({ eventId: 'e', userId, channelIds, action: 'set_user_channels' }))
  await app.redis.publish('vp:membership_updates', 'not JSON')
  await update(2, [6])
  ada.send(0, 1, 1, 5)
  await until(async () => {
    bob.send(0, 17, 2, 5, 'x')
    await bob.flush()
    return bob.frames.some(([, type]) => type === 27)
  })
  bob.send(0, 1, 2, 6)
  await bob.next(6, ([,,, to]) => to === 6)
  const old = radioToken(2, { channelIds: [5], iat: Math.floor(Date.now() / 1000) - 60 })
  const again = await connectRadio(t, url, 2, { token: old, deviceId: 'x' })
  again.send(0, 17, 2, 5, 'x')
  await again.next(27)
  const renewed = await connectRadio(t, url, 2, { token: radioToken(2, { channelIds: [5], iat: Math.floor(Date.now() / 1000) + 30 }), deviceId: 'x' })
  renewed.send(0, 17, 2, 5, 'x')
  await renewed.next(22)

  renewed.send(0, 15, 2, 7)
  renewed.send(0, 1, 2, 7)
  await renewed.next(6, ([,,, to]) => to === 7)
  renewed.send(0, 16, 2, 7)
  renewed.send(0, 1, 2, 7)
  await renewed.next(27, ([,,, to]) => to === 7)
})

/** Waits until user 2 is a member of channel 6, that is, until the server accepts a message. */
const canSend = (radio: TestRadio) => until(async () => {
  radio.send(0, 17, 2, 6, 'x')
  await radio.flush()
  return radio.frames.some(([, type, , to]) => type === 22 && to === 6)
})

t.test('applies the last of many membership updates of a user that arrive together', async (t) => {
  const { redisDatabase } = await import('../../support/redis.ts')
  const { app, url } = await build(t, { env: { ...env, REDIS_URL: await redisDatabase() } })
  const radio = await connectRadio(t, url, 2, inFive)
  await Promise.all([...Array(30).keys().map((i) => 10 + i), 6].map(async (channel) => await app.redis.publish('vp:membership_updates', JSON.stringify({ eventId: 'e', userId: 2, channelIds: [channel], action: 'set_user_channels' }))))
  await canSend(radio)
})

t.test('retries a membership update that conflicts with the updates of many other servers', async (t) => {
  const { redisDatabase } = await import('../../support/redis.ts')
  const { app, url } = await build(t, { env: { ...env, REDIS_URL: await redisDatabase() } })
  const radio = await connectRadio(t, url, 2, inFive)
  const channels = app.kv.namespace('push-to-talk:channels')
  const { compareAndSet } = channels
  let conflicts = 0
  channels.compareAndSet = async (...args) => ++conflicts > 20 && await compareAndSet(...args)
  await app.redis.publish('vp:membership_updates', JSON.stringify({ eventId: 'e', userId: 2, channelIds: [6], action: 'set_user_channels' }))
  await canSend(radio)
})

t.test('retries a membership update that could not be stored or applied, unless a newer update follows', async (t) => {
  const { redisDatabase } = await import('../../support/redis.ts')
  const logged: string[] = []
  const { app, url } = await build(t, { env: { ...env, REDIS_URL: await redisDatabase() }, log: ({ level, msg }) => { if (/membership update/.test(String(msg))) logged.push(`${Number(level)} ${String(msg)}`) } })
  const radios = await Promise.all([2, 3].map(async (id) => ({ id, radio: await connectRadio(t, url, id, inFive) })))
  const update = async (userId: number, channelIds: unknown[]) => await app.redis.publish('vp:membership_updates', JSON.stringify({ eventId: 'e', userId, channelIds, action: 'set_user_channels' }))
  const channels = app.kv.namespace('push-to-talk:channels')
  const { compareAndSet, get } = channels
  const failures: string[] = []
  const fail = async (key: string) => {
    failures.push(key)
    throw new Error('connection lost')
  }
  channels.get = fail
  for (const ids of [[7], [6]]) await update(2, ids)
  await until(() => failures.length >= 2)
  t.same(logged, ['50 failed to apply a membership update from the backend'], 'only the first failure is logged')
  channels.get = get
  channels.compareAndSet = async (...args) => {
    const isStored = await compareAndSet(...args)
    if (args[0] === '3') channels.get = fail
    return isStored
  }
  await update(3, [6])
  await until(() => failures.includes('3'))
  channels.get = get
  for (const { id, radio } of radios) {
    await until(async () => {
      radio.send(0, 17, id, 5, 'x')
      await radio.flush()
      return radio.frames.some(([, type]) => type === 27)
    })
    radio.send(0, 17, id, 6, 'x')
    await radio.next(22, ([,,, to]) => to === 6)
  }
  await until(() => logged.at(-1) === '30 applied all membership updates that had failed')
})

t.test('a radio whose device id is its token is listed only once after its token changes', async (t) => {
  const server = await build(t, { env })
  const [older, newer] = [radioToken(1), radioToken(1, { channelIds: [5] })]
  for (const token of [older, newer]) {
    const radio = await connectRadio(t, server.url, 1, { token })
    radio.send(0, 4, 1, 0, 'push-token')
    await radio.flush()
  }
  const { body } = await server.admin('GET', '/admin/push-to-talk/users/1/devices')
  t.strictSame((body as { devices: { deviceId: string }[] }).devices.map(({ deviceId }) => deviceId), [newer])
})

t.test('stores push tokens, and stores talks if PTT_RECORD is set', async (t) => {
  const server = await build(t, { env: { ...env, PTT_RECORD: 'true' } })
  const ada = await connectRadio(t, server.url, 1, { ...inFive, deviceId: 'phone' })
  ada.send(0, 4, 1, 0, 'push-token')
  await ada.flush()
  t.match(await server.admin('GET', '/admin/push-to-talk/users/1/devices'), { body: { devices: [{ deviceId: 'phone', token: 'push-token' }] } })
  ada.send(0, 1, 1, 5)
  for (let i = 0; i < 5; i++) ada.send(0, 3, 1, 5, packet)
  ada.send(0, 2, 1, 5)
  const messageId = String((await ada.next(7))[4])
  t.match(await server.admin('GET', '/admin/push-to-talk/talks'), { body: { talks: [{ messageId, bytes: Number }] } })
  const file = await fetch(`${server.url}/admin/push-to-talk/talks/${messageId}`, { headers: { authorization: 'Bearer an-admin-key-for-tests-that-is-long-enough' } })
  t.equal(Buffer.from(await file.arrayBuffer()).toString('latin1', 0, 4), 'OggS')
  t.match(await server.admin('DELETE', `/admin/push-to-talk/talks/${messageId}`), { status: 204 })
  t.match(await server.admin('GET', '/admin/push-to-talk/talks'), { body: { talks: emptyArray } })
})

t.test('continues talks across a reload, and drops malformed frames', async (t) => {
  const server = await build(t, { env: { ...env, PTT_MESSAGES_PER_MINUTE: '2' } })
  const [ada, bob] = [await connectRadio(t, server.url, 1, inFive), await connectRadio(t, server.url, 2, inFive)]
  ada.send(0, 1, 1, 5)
  await bob.next(1)
  t.match(await server.admin('POST', '/admin/features/push-to-talk/reload'), { status: 200, body: { generation: 2 } })
  ada.send(0, 3, 1, 5, packet)
  await bob.next(3)
  ada.send(0, 2, 1, 5)
  await bob.next(2)
  await bob.flush()
  t.equal(bob.frames.filter(([, type]) => type !== 26).length, 3, 'each frame arrives once')

  for (const data of ['text', Buffer.from([0xc1]), Buffer.alloc(0), Buffer.alloc(1000, 0x91)]) ada.sendRaw(data)
  ada.send(7)
  ada.send(0, 3, 1, 5, 'no audio')
  ada.send(0, 19, 1, 5)
  await ada.flush()
  const metrics = await (await fetch(`${server.url}/metrics`)).text()
  t.match(metrics, /flylive_ptt_frames_dropped_total\{reason="malformed"\} 6/)
  t.match(metrics, /flylive_ptt_frames_dropped_total\{reason="ignored"\} 1/)
  t.match(metrics, /flylive_ptt_radios 2/)
  for (let i = 0; i < 4; i++) bob.send(1, 17, 2, 1, 'x')
  await bob.flush()
  t.equal(bob.frames.filter(([, type]) => type === 22).length, 2, 'at most two messages per minute')
  t.match(await (await fetch(`${server.url}/metrics`)).text(), /flylive_ptt_frames_dropped_total\{reason="rate_limited"\} 2/)
  t.match(await server.admin('POST', '/admin/features/push-to-talk/disable'), { status: 200 })
  t.match(await ada.closed, { code: 1001 })
  t.match(await connectRadio(t, server.url, 1).catch((error: unknown) => error), { status: 404 })
})

t.test('only members can join the room of a channel, and the room has no owner', async (t) => {
  const { url } = await build(t, { env: { FEATURES: 'auth,media,seats,lobby,push-to-talk' } })
  const join = async (claims: Record<string, unknown>) => {
    const client = await connect(t, url, { token: tokenFor(7, claims) })
    return { client, reply: await client.request('room:join', { roomId: 'ptt:5', pin: '1234' }) }
  }
  t.match((await join({})).reply, { ok: false, error: { code: 'FORBIDDEN' } })
  t.match((await join({ channelIds: [6] })).reply, { ok: false, error: { code: 'FORBIDDEN' } })
  const { client, reply } = await join({ channelIds: ['5'] })
  t.match(reply, { ok: true, data: { roomId: 'ptt:5', ownerId: null, self: { userId: 7, role: 'member' } } })
  t.match(await client.ok('lobby:list'), { rooms: emptyArray }, 'the lobby does not list it')
  t.equal(await client.fails('seat:lock', { seatIndex: 1 }), 'FORBIDDEN')

  const radio = await connectRadio(t, url, 1, inFive)
  radio.send(0, 1, 1, 5)
  t.same(await client.event('ptt:floor'), { roomId: 'ptt:5', userId: 1 })
  t.match(await client.event('audio:newProducer'), { userId: 1, kind: 'audio' })
  radio.send(0, 2, 1, 5)
  t.same(await client.event('ptt:floor'), { roomId: 'ptt:5', userId: null })
  t.match(await client.event('audio:producerClosed'), { userId: 1 })
})
