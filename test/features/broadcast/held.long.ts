import { Agent, get } from 'node:http'
import t from 'tap'
import { build } from '../../support/build.ts'
import { collectGarbage } from '../../support/garbage.ts'
import { hlsClient } from '../../support/hls.ts'
import { until } from '../../support/retry.ts'

// 1,000 clients request a playlist that does not exist yet, so the server holds the requests. The clients then
// disconnect, and the heap must not grow.

const count = 1000
t.setTimeout(300_000)

const server = await build(t, { env: { FEATURES: 'auth,media,broadcast' } })
const owner = await server.connect(1)
await owner.ok('room:join', { roomId: 'r1' })
await owner.ok('broadcast:start')
const { playlist } = hlsClient(`${server.url}/hls/r1`)
await playlist('live.m3u8')
const waiting = async () => Number(((await server.admin('GET', '/admin/broadcasts')).body?.['broadcasts'] as Record<string, number>[])[0]?.['waitingRequests'])

/** @returns the maximum number of requests that the server held at once */
async function holdAndDrop (): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: Infinity, maxFreeSockets: Infinity })
  const ask = (file: string) => get(`${server.url}/hls/r1/${file}`, { agent }, (response) => response.resume()).on('error', () => {})
  // Open the connections first, because a request is held for a few seconds at most.
  await Promise.all(Array.from({ length: count }, async () => await new Promise((resolve) => ask('aac-init.mp4').on('close', resolve))))
  const { last } = await playlist('live.m3u8')
  const requests = Array.from({ length: count }, () => ask(`live.m3u8?_HLS_msn=${last + 2}`))
  let most = 0
  const end = performance.now() + 2500
  while (most < count && performance.now() < end) most = Math.max(most, await waiting())
  for (const request of requests) request.destroy()
  agent.destroy()
  await until(async () => await waiting() === 0)
  return most
}

function heap (): number {
  for (let i = 0; i < 3; i++) collectGarbage()
  return process.memoryUsage().heapUsed
}

t.test('the heap does not grow when 1,000 held requests are aborted', async (t) => {
  // The first rounds fill caches.
  for (let i = 0; i < 3; i++) await holdAndDrop()
  const before = heap()
  const held = []
  for (let i = 0; i < 8; i++) held.push(await holdAndDrop())
  const grown = (heap() - before) / 1e6
  t.comment(`${held.join(', ')} requests held; the heap of ${(before / 1e6).toFixed(1)} MB grew by ${grown.toFixed(2)} MB`)
  t.ok(Math.max(...held) > count * 0.9)
  t.ok(grown < 1, `${grown} MB`)
})
