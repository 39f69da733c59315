import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { adminKey, build } from '../../support/build.ts'
import { startServer } from '../../support/process.ts'
import { connectRadio } from '../../support/radio.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

const packet = Buffer.from([0xf8, 0xff, 0xfe])
const claims = { channelIds: [5] }

t.test('a running talk continues while Redis is down, and new talks are possible afterwards', async (t) => {
  const redis = await startRedis(t)
  const server = await build(t, { env: { FEATURES: 'auth,push-to-talk', REDIS_URL: redis.url } })
  const [ada, bob] = [await connectRadio(t, server.url, 1, { claims }), await connectRadio(t, server.url, 2, { claims })]
  ada.send(0, 1, 1, 5)
  await bob.next(1)
  await redis.kill()
  ada.send(0, 3, 1, 5, packet)
  t.same(await bob.next(3), [0, 3, 1, 5, packet], 'radios of the same server receive the talk')
  ada.send(0, 2, 1, 5)
  await bob.next(2)
  await ada.next(7)
  bob.send(0, 1, 2, 5)
  t.same(await bob.next(8), [0, 8, 2, 5, 'Unavailable'])
  bob.send(0, 17, 2, 5, 'lost')
  await bob.flush()
  t.equal(bob.frames.some(([, type]) => type === 22), false, 'a message that is not stored is not acknowledged')
  t.match(await connectRadio(t, server.url, 3, { claims }).catch((error: unknown) => error), { status: 503 }, 'revoked tokens cannot be recognised')

  await redis.start()
  await until(async () => {
    bob.send(0, 1, 2, 5)
    await bob.flush()
    return bob.frames.some(([, type]) => type === 6)
  })
  t.same(await ada.next(1), [0, 1, 2, 5, null])
  bob.send(0, 2, 2, 5)
  await ada.next(2)
  bob.send(0, 17, 2, 5, 'kept')
  await bob.next(22)
  t.match(String((await ada.next(17))[4]), /kept/)
  await until(async () => await server.app.redis.publish('vp:membership_updates', JSON.stringify({ eventId: 'e', userId: 2, channelIds: [], action: 'set_user_channels' })) > 0)
  await until(async () => {
    bob.send(0, 17, 2, 5, 'x')
    await bob.flush()
    return bob.frames.some(([, type]) => type === 27)
  })
  for (const radio of [ada, bob]) t.equal(radio.ws.readyState, radio.ws.OPEN)
})

t.test('a talk on a server that was killed ends on the other servers', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,push-to-talk' } })
  const bob = await connectRadio(t, server.url, 2, { claims })
  const { now } = server.app.clock
  const begin = now()
  const start = { kind: 'start', talk: { talkId: 't', fromId: 1, userKey: '1', nodeId: 'killed', startedAt: begin, isNative: false }, frame: Buffer.from([0x95, 0, 1, 1, 5, 0xc0]).toString('base64') }
  await server.app.bus.publish('push-to-talk:g:5', JSON.stringify(start))
  await bob.next(1)
  Object.assign(server.app.clock, { now: () => now() + 11_000 })
  const stop = await bob.next(2)
  t.same(stop.slice(0, 4), [0, 2, 1, 5])
  t.match(JSON.parse(String(stop[4])), { duration: Number, message_id: /^0_3_5_1_\d{13}_\d+ms\.opus$/ })
})

t.test('a server without Redis keeps acknowledged data when it is killed', async (t) => {
  const DATA_DIR = mkdtempSync(join(tmpdir(), 'flylive-push-to-talk-'))
  t.teardown(() => rmSync(DATA_DIR, { recursive: true, force: true }))
  const env = { FEATURES: 'auth,push-to-talk', DATA_DIR, PTT_RECORD: 'true' }
  const first = startServer(t, env)
  const ada = await connectRadio(t, await first.url, 1, { claims })
  ada.send(1, 17, 1, 2, 'hello')
  ada.send(0, 4, 1, 0, 'push-token')
  ada.send(0, 1, 1, 5)
  ada.send(0, 3, 1, 5, packet)
  ada.send(0, 2, 1, 5)
  const messageId = (await ada.next(7))[4]
  first.child.kill('SIGKILL')
  await first.exit
  const { url } = await build(t, { env })
  const bob = await connectRadio(t, url, 2)
  t.match(String((await bob.next(17))[4]), /hello/)
  const admin = async (path: string) => await (await fetch(`${url}/admin/push-to-talk/${path}`, { headers: { authorization: `Bearer ${adminKey}` } })).json() as unknown
  t.match(await admin('talks'), { talks: [{ messageId }] })
  t.match(await admin('users/1/devices'), { devices: [{ token: 'push-token' }] })
})
