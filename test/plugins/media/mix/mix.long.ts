import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { compileOpus, frameSamples, Opus } from '../../../../plugins/media/mix/opus.ts'
import { build } from '../../../support/build.ts'
import type { TestServer } from '../../../support/build.ts'
import { attack, receive, relay, speak, speechPackets } from '../../../support/mix.ts'
import type { SpokenPacket } from '../../../support/mix.ts'
import { until } from '../../../support/retry.ts'

// Measures the CPU time of mixes with real speech, and tests mixes with random packets and with bad networks.

const minute = 60_000
const wait = async (ms: number) => {
  const end = performance.now() + ms
  await until(() => performance.now() > end, ms + 15_000)
}

async function start (t: Parameters<typeof build>[0]) {
  const server = await build(t, { env: { FEATURES: 'auth,media,mix' } })
  const metric = async (name: string) => Number((await (await fetch(`${server.url}/metrics`)).text()).split('\n').find((line) => line.startsWith(`${name} `))?.split(' ')[1])
  return { server, metric }
}

async function createRoom (server: TestServer, id: number): Promise<string> {
  const member = await server.connect(id)
  await member.ok('room:join', { roomId: `r${id}` })
  return `r${id}`
}

const speech = speechPackets()

/** @returns the CPU time for decoding three voices and encoding one mix, in milliseconds per second per room */
async function codecCost (rooms: number): Promise<number> {
  const module = await compileOpus()
  const codecs = Array.from({ length: rooms }, () => {
    const opus = new Opus(module)
    return { decoders: [0, 1, 2].map(() => opus.createDecoder(1)), encoder: opus.createEncoder(1, { bitrate: 48_000, complexity: 3 }) }
  })
  const pcm = new Int16Array(frameSamples)
  const seconds = 6
  // Measure the whole loop, because the system updates a thread's CPU time only at system ticks and when the thread
  // waits.
  const before = process.threadCpuUsage()
  for (let frame = 0; frame < seconds * 50; frame++) {
    for (const { decoders, encoder } of codecs) {
      for (const [i, decoder] of decoders.entries()) pcm.set(decoder.decode((speech[(frame + i * 97) % speech.length] as SpokenPacket).payload).subarray(0, frameSamples))
      encoder.encode(pcm)
    }
    // Process one frame per 20 ms, like the mixer, because the processor's caches are cold after each pause.
    await delay(20)
  }
  const { user, system } = process.threadCpuUsage(before)
  return (user + system) / 1000 / seconds / rooms
}

t.test('mixes 15 rooms with three voices each in time', async (t) => {
  const { server, metric } = await start(t)
  const rooms = 15
  for (let i = 0; i < rooms; i++) {
    const roomId = await createRoom(server, i + 1)
    await server.app.sfu.mix(roomId)
    for (let j = 0; j < 3; j++) await speak(t, server.app, roomId, { speech: { packets: speech, from: (i * 3 + j) * 97 } })
  }
  await wait(3000)
  const counters = async () => ({
    cpu: await metric('flylive_mix_cpu_seconds_total'),
    ticks: await metric('flylive_mix_tick_lateness_seconds_count'),
    inTime: await metric('flylive_mix_tick_lateness_seconds_bucket{le="0.02"}'),
    voices: await metric('flylive_mix_voices')
  })
  const before = await counters()
  const at = performance.now()
  await wait(minute)
  const after = await counters()
  const seconds = (performance.now() - at) / 1000
  const cpuMs = (after.cpu - before.cpu) * 1000 / seconds / rooms
  const late = 1 - (after.inTime - before.inTime) / (after.ticks - before.ticks)
  t.comment(`${cpuMs.toFixed(1)} ms of CPU per room per second; ${(late * 100).toFixed(2)} % of the ticks were later than 20 ms; ${after.voices} voices in the mixes`)
  // The target is 22 ms on the reference machine. On a slower machine, the limit scales with the time that libopus
  // alone takes.
  const codecMs = await codecCost(rooms)
  t.comment(`libopus alone: ${codecMs.toFixed(1)} ms for the same packets`)
  t.ok(cpuMs <= Math.max(22, codecMs * 1.4))
  t.ok(late < 0.01, 'p99 is below 20 ms')
})

t.test('survives random packets for a minute', async (t) => {
  const { server, metric } = await start(t)
  const [attacked, other] = [await createRoom(server, 1), await createRoom(server, 2)]
  await server.app.sfu.mix(attacked)
  const mix = await server.app.sfu.mix(other)
  const heard = receive(t, mix, { pcm: true })
  await speak(t, server.app, other, { hz: 500, amplitude: 0.2 })
  await until(() => (heard.amplitudes(500)[0] as number) > 0.17)
  const [thread] = server.app.sfu.mixThreads()
  await attack(t, server.app, attacked, { voices: 10, seed: 4 })
  const from = heard.frames.length
  let [checks, quiet] = [0, 0]
  for (const end = performance.now() + minute; performance.now() < end; checks++) {
    await wait(500)
    if ((heard.amplitudes(500)[0] as number) < 0.17) quiet++
  }
  t.equal(server.app.sfu.mixThreads()[0], thread)
  t.equal(await metric('flylive_mix_thread_deaths_total'), 0)
  const frames = heard.frames.slice(from)
  t.ok(frames.every((frame, i) => i === 0 || frame.timestamp - (frames[i - 1]?.timestamp ?? 0) === 960), 'the other room misses no packet')
  t.comment(`${await metric('flylive_mix_invalid_packets_total')} invalid packets; the other room's tone was weaker in ${quiet} of ${checks} checks; ${await metric('flylive_mix_concealed_packets_total{result="concealed"}')} packets concealed`)
  t.ok(quiet <= checks / 20)
})

t.test('mixes voices over bad networks', async (t) => {
  const { server, metric } = await start(t)
  const kinds = { late: 'flylive_mix_late_packets_total', restored: 'flylive_mix_concealed_packets_total{result="restored"}', concealed: 'flylive_mix_concealed_packets_total{result="concealed"}' }
  const counters = async () => Object.fromEntries(await Promise.all(Object.entries(kinds).map(async ([kind, name]) => [kind, await metric(name)] as const)))
  let id = 1
  for (const [name, fault] of Object.entries({
    'no fault': { drop: 0, jitterMs: 0, seed: 1 },
    '5 % lost': { drop: 0.05, jitterMs: 0, seed: 2 },
    '200 ms jitter': { drop: 0, jitterMs: 200, seed: 3 },
    '5 % lost and 200 ms jitter': { drop: 0.05, jitterMs: 200, seed: 4 }
  })) {
    await t.test(name, async (t) => {
      const roomId = await createRoom(server, id++)
      const mix = await server.app.sfu.mix(roomId)
      const heard = receive(t, mix, { packets: true })
      await speak(t, server.app, roomId, { speech: { packets: speech.map(({ payload }) => ({ payload, level: 20 })), from: 0 }, via: relay(t, fault) })
      await wait(3000)
      const before = await counters()
      const [from, at] = [heard.frames.length, performance.now()]
      await wait(minute / 2)
      const seconds = (performance.now() - at) / 1000
      const perSecond = (heard.frames.length - from) / seconds
      const after = await counters()
      const counts = Object.keys(kinds).map((kind) => `${(((after[kind] ?? 0) - (before[kind] ?? 0)) / seconds / 50 * 100).toFixed(2)} % ${kind}`)
      t.comment(`${name}: ${perSecond.toFixed(2)} packets per second; ${counts.join(', ')}`)
      t.ok(perSecond > 49 && perSecond < 51)
      mix.close()
    })
  }
})
