import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { build } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { sendSilence } from '../../support/rtp-packets.ts'

// Measures the CPU time that media workers need for audio between servers. docs/measurements.md has the results.

const roomId = 'r1'
const streams = 40
const seconds = 20

t.test(`${streams} voices are relayed from one server to another`, async (t) => {
  const env = { FEATURES: 'auth,media', REDIS_URL: await redisDatabase() }
  const [a, b] = [await build(t, { env }), await build(t, { env })] as const
  const [amy, bob] = [await a.connect(1), await b.connect(2)]
  for (const client of [amy, bob]) await client.ok('room:join', { roomId })
  for (let i = 0; i < streams; i++) {
    const ssrc = 1000 + i
    const injection = await a.app.sfu.inject(roomId, { userId: 1, userKey: '1', nodeId: a.app.nodeId, kind: 'service' }, { ssrc })
    sendSilence(t, ssrc, injection)
  }
  const usedMs = async ({ app }: TestServer) => (await app.sfu.workersCpuMs()).values().reduce((sum, ms) => sum + ms, 0)
  const perStream = async () => {
    const before = [await usedMs(a), await usedMs(b)] as const
    await delay(seconds * 1000)
    return [await usedMs(a) - before[0], await usedMs(b) - before[1]].map((ms) => ms / seconds / streams) as [number, number]
  }
  const [alone] = await perStream()
  const voices = async () => (await bob.ok('transport:create', { type: 'consumer' })) !== undefined && b.app.sfu.producersOf(roomId).length === streams
  await until(voices)
  await until(() => b.app.sfu.relays().sinks === 1)
  await delay(1000)
  const [source, sink] = await perStream()
  t.comment(`| relay CPU per stream, ms per second of audio | source ${(source - alone).toFixed(2)} (with the input ${source.toFixed(2)}, without relay ${alone.toFixed(2)}), sink ${sink.toFixed(2)} |`)
  t.ok(source - alone < 2)
  t.ok(sink < 2)
})
