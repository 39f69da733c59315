import t from 'tap'
import { build, onBothStores } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'
import { until } from '../../support/retry.ts'
import { dtlsParameters, rtpParameters } from '../../support/rtp.ts'

// With BROADCAST_SINGLE_CONNECTION, a user can speak over only one connection at a time.

const env = { FEATURES: 'auth,media,broadcast', BROADCAST_SINGLE_CONNECTION: 'true' }

/**
 * Joins a room and connects a transport.
 *
 * @returns a function that starts sending audio
 */
async function speaker (client: TestClient) {
  await client.ok('room:join', { roomId: 'r1' })
  const { id: transportId } = await client.ok('transport:create', { type: 'producer' })
  await client.ok('transport:connect', { transportId, dtlsParameters })
  return async () => await client.request('audio:produce', { transportId, kind: 'audio', rtpParameters: rtpParameters() })
}

onBothStores(t, 'a second connection of the same user cannot speak until the first one stops', async (t, store) => {
  const server = await build(t, { env: { ...env, ...store } })
  const [first, second, other] = [await server.connect(1), await server.connect(1), await server.connect(2)]
  const [one, two, three] = [await speaker(first), await speaker(second), await speaker(other)]
  t.match(await one(), { ok: true })
  t.match(await two(), { ok: false, error: { code: 'ALREADY_LIVE' } })
  t.match(await three(), { ok: true }, 'a different user may speak')
  t.match(await server.admin('POST', '/admin/features/broadcast/reload'), { status: 200 })
  t.match(await two(), { ok: false, error: { code: 'ALREADY_LIVE' } }, 'the lock is kept across a reload')
  await first.ok('room:leave')
  await until(async () => (await two()).ok)
})

onBothStores(t, 'a second connection can speak as soon as the first one has closed its producer', async (t, store) => {
  const server = await build(t, { env: { ...env, ...store } })
  const [first, second] = [await server.connect(1), await server.connect(1)]
  const [one, two] = [await speaker(first), await speaker(second)]
  const locks = server.app.kv.namespace('broadcast-live')
  const compareAndSet = locks.compareAndSet.bind(locks)
  let released = 0
  locks.compareAndSet = async (key, expected, value, expiry) => {
    if (expiry?.ttlMs === 1) released++
    return await compareAndSet(key, expected, value, expiry)
  }
  const stop = async (client: TestClient, { ok, data }: { ok: boolean, data: Record<string, unknown> }) => {
    t.ok(ok)
    const before = released
    await client.ok('audio:closeProducer', { producerId: data.id })
    t.equal(released, before + 1)
  }
  for (let i = 0; i < 10; i++) {
    await stop(first, await one())
    await stop(first, await one())
    await until(async () => await locks.get('1') === undefined)
    await stop(second, await two())
    await until(async () => await locks.get('1') === undefined)
  }
})

onBothStores(t, "a connection can speak once a dead server's lock expires", async (t, store) => {
  const server = await build(t, { env: { ...env, ...store } })
  const speak = await speaker(await server.connect(1))
  const begin = performance.now()
  await server.app.kv.namespace('broadcast-live').set('1', 'dead session', { ttlMs: 3000 })
  t.match(await speak(), { ok: false, error: { code: 'ALREADY_LIVE' } })
  await until(async () => (await speak()).ok)
  t.ok(performance.now() - begin > 2990)
})

t.test('closes the producer of a connection whose lock was taken over', async (t) => {
  const server = await build(t, { env })
  const client = await server.connect(1)
  const speak = await speaker(client)
  t.match(await speak(), { ok: true })
  await server.app.kv.namespace('broadcast-live').set('1', 'another session')
  await until(() => server.app.sfu.producerHandles('r1').length === 0)
})
