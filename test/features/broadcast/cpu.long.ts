import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { build } from '../../support/build.ts'
import { hlsClient } from '../../support/hls.ts'
import { speak } from '../../support/mix.ts'

// Measures the CPU time that the mix, AAC encoding and packaging need per room on air. For comparison, the same rooms
// and speakers are first measured off air.

const rooms = 5
const seconds = 30
t.setTimeout(240_000)

const server = await build(t, { env: { FEATURES: 'auth,media,broadcast', MEDIASOUP_WORKERS: '1', MIX_FROM_LISTENERS: '1000' } })
const owners = await Promise.all(Array.from({ length: rooms }, async (_, i) => {
  const owner = await server.connect(i + 1)
  await owner.ok('room:join', { roomId: `r${i}` })
  for (const hz of [500, 1000, 1500]) await speak(t, server.app, `r${i}`, { hz, amplitude: 0.2 })
  return owner
}))

/** @returns the server's CPU time as a percentage of a core, without the media workers, which are separate processes */
async function measure (): Promise<number> {
  const [begin, before] = [performance.now(), process.cpuUsage()]
  await delay(seconds * 1000)
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 10 / (performance.now() - begin)
}

t.test('a room on air costs at most 5.5 % of a core', async (t) => {
  await delay(3000)
  const off = await measure()
  for (const owner of owners) await owner.ok('broadcast:start')
  for (let i = 0; i < rooms; i++) await hlsClient(`${server.url}/hls/r${i}`).playlist('live.m3u8')
  await delay(3000)
  const on = await measure()
  t.comment(`${rooms} rooms with three speakers: ${off.toFixed(1)} % off air, ${on.toFixed(1)} % on air: ${((on - off) / rooms).toFixed(2)} % of a core per room`)
  t.ok((on - off) / rooms <= 5.5)
})
