import t from 'tap'
import type { Test } from 'tap'
import { adminKey, tokenFor } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import { hlsClient } from '../../support/hls.ts'
import { play, startCache, sumOfMetric } from '../../support/hls-players.ts'
import { startServer } from '../../support/process.ts'

// Simulates 1,000 players that do not use low-latency HLS, and 100 that do, behind nginx. PLAYERS sets the number of
// players that do not use low-latency HLS; a tenth as many players use low-latency HLS. BROADCAST_SECONDS sets the
// duration.

const players = Number(process.env.PLAYERS ?? 1000)
const seconds = Number(process.env.BROADCAST_SECONDS ?? 120)
t.setTimeout((2 * seconds + 120) * 1000)

const server = startServer(t, { FEATURES: 'auth,media,broadcast', PORT: '0', MEDIASOUP_WORKERS: '1' })
const url = await server.url
const owner = await connect(t, url, { token: tokenFor(1) })
await owner.ok('room:join', { roomId: 'r1' })
await owner.ok('broadcast:start')
await hlsClient(`${url}/hls/r1`).playlist('live.m3u8')
const cache = await startCache(t, [Number(new URL(url).port)])
const metrics = async () => await (await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${adminKey}` } })).text()

const measure = async (t: Test, plain: number, lowLatency: number) => {
  const before = await metrics()
  const result = await play(`${cache.url}/hls/r1`, { plain, lowLatency, seconds })
  const after = await metrics()
  const grown = (name: string) => sumOfMetric(after, name) - sumOfMetric(before, name)
  const p99 = result.latencies[Math.floor(result.latencies.length * 0.99)] ?? NaN
  const origin = grown('flylive_broadcast_requests_total')
  const cpu = grown('process_cpu_seconds_total') / seconds
  t.comment(`${plain} + ${lowLatency} players: ${(result.requests / seconds).toFixed(0)} requests/s, ${(origin / seconds).toFixed(1)} at the origin (${(100 * origin / result.requests).toFixed(2)} %), ` +
    `p99 of a playlist ${p99.toFixed(1)} ms, origin CPU ${(100 * cpu).toFixed(1)} % of a core, ${JSON.stringify(result.cache)}, ${result.failures.length} failures`)
  return { ...result, origin, p99 }
}

t.test('the cache answers most requests', async (t) => {
  await measure(t, 1, 0)
  const { requests, origin, p99, failures } = await measure(t, players, players / 10)
  t.ok(origin <= requests * 0.02, `${origin} of ${requests} requests reach the origin`)
  t.ok(p99 < 100, `p99 ${p99} ms`)
  t.strictSame(failures, [])
})
