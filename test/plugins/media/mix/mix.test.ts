import { createSocket } from 'node:dgram'
import { availableParallelism } from 'node:os'
import type { Worker } from 'node:worker_threads'
import { observer } from 'mediasoup'
import type { types } from 'mediasoup'
import t from 'tap'
import type { Test } from 'tap'
import type { FromMixer, MixFrame } from '../../../../plugins/media/mix/messages.ts'
import type { RoomMix } from '../../../../plugins/media/mix/mixes.ts'
import { build } from '../../../support/build.ts'
import { attack, receive, relay, speak } from '../../../support/mix.ts'
import type { Reception } from '../../../support/mix.ts'
import { until } from '../../../support/retry.ts'
import { createStallClock } from '../../../support/stall-clock.ts'
import { evaluateIn } from '../../../support/thread-inspector.ts'

// Tests the kernel's mix of a room, with speakers that send RTP over UDP.

const server = await build(t, { env: { FEATURES: 'auth,media' }, timings: { mixLingerMs: 200 } })
const { app } = server
/** All plain transports, oldest first. */
const transports: types.PlainTransport[] = []
observer.on('newworker', (worker) => worker.observer.on('newrouter', (router) => router.observer.on('newtransport', (transport) => {
  if (transport.type === 'plain') transports.push(transport as types.PlainTransport)
})))
/** Returns the value of one metric. Reading all metrics would take a few milliseconds of CPU time. */
const metric = async (name: string) => {
  const text = await app.metrics.registry.getSingleMetricAsString(name.replace(/\{.*/, ''))
  return Number(new RegExp(`^${name.replace(/[{}]/g, '\\$&')} (.*)$`, 'm').exec(text)?.[1])
}

let rooms = 0
async function createRoom () {
  const roomId = `room-${++rooms}`
  const member = await server.connect(rooms)
  await member.ok('room:join', { roomId })
  return { roomId, member }
}
const near = (value: number, expected: number) => Math.abs(value - expected) < expected * 0.15

/** @returns the total length of the gaps between the frames of one stream, in milliseconds */
const gapsMs = (frames: readonly MixFrame[]) => frames.slice(1).reduce((sum, { timestamp }, i) => sum + (timestamp - (frames[i]?.timestamp ?? 0)) / 48 - 20, 0)

/**
 * Waits until a mix whose thread has ended contains a tone of 500 Hz again. On a busy machine, a thread may take too
 * long to start and is then replaced again.
 */
async function hearAgain (t: Test, mix: RoomMix): Promise<Reception> {
  let heard = receive(t, mix)
  await until(() => {
    if (heard.closed) heard = receive(t, mix)
    return near(heard.amplitudes(500)[0] as number, 0.2)
  }, 30_000)
  return heard
}

t.test('contains the three loudest voices and all music', async (t) => {
  const { roomId } = await createRoom()
  const mix = await app.sfu.mix(roomId)
  const heard = receive(t, mix)
  // The first voice is the quietest.
  const quiet = await speak(t, app, roomId, { hz: 400, amplitude: 0.05 })
  await until(() => near(heard.amplitudes(400)[0] as number, 0.05))
  await Promise.all([600, 900, 1300].map((hz) => speak(t, app, roomId, { hz, amplitude: 0.15 })))
  const music = await speak(t, app, roomId, { hz: 2000, amplitude: 0.02, source: 'music' })
  await until(() => {
    const [low = 1, ...loud] = heard.amplitudes(400, 600, 900, 1300)
    return low < 0.001 && loud.every((amplitude) => near(amplitude, 0.15)) && near(heard.amplitudes(2000)[0] as number, 0.02)
  })
  t.equal(heard.frames.findLast((frame) => frame.kind === 'pcm')?.channels, 2, 'stereo, because of the music')
  await until(async () => await metric('flylive_mix_voices') === 4)

  music.vanish()
  const [speaker] = app.sfu.producerHandles(roomId).filter(({ producerId }) => ![quiet, music].some((other) => other.producerId === producerId))
  await speaker?.pause('server')
  await until(() => near(heard.amplitudes(400)[0] as number, 0.05) && (heard.amplitudes(2000)[0] as number) < 0.001 &&
    heard.amplitudes(600, 900, 1300).filter((amplitude) => near(amplitude, 0.15)).length === 2)
  t.pass('the quiet voice has taken the place of the paused one')
  mix.close()
})

t.test('sends 50 packets per second, regardless of the voices', async (t) => {
  const { roomId } = await createRoom()
  const mix = await app.sfu.mix(roomId)
  const heard = receive(t, mix, { pcm: true, packets: true, voices: true })
  const { stalledMs } = createStallClock(t)
  const [paused, muted, vanished] = await Promise.all([500, 700, 1100].map((hz) => speak(t, app, roomId, { hz, amplitude: 0.2 })))
  await until(() => heard.amplitudes(500, 700, 1100).every((amplitude) => near(amplitude, 0.2)))
  const from = { at: performance.now(), frames: heard.frames.filter(({ kind }) => kind === 'packet').length }
  await paused?.pause()
  vanished?.vanish()
  await until(() => heard.amplitudes(500, 1100).every((amplitude) => amplitude < 0.001))
  await until(() => near(heard.amplitudes(700)[0] as number, 0.2))
  await paused?.resume()
  await until(() => near(heard.amplitudes(500)[0] as number, 0.2))
  await muted?.pause()
  await until(() => performance.now() - from.at > 1000)
  const packets = heard.frames.filter(({ kind }) => kind === 'packet')
  // A delayed mixer thread catches up on at most half a second.
  const aheadMs = (packets.length - from.frames) * 20 - (performance.now() - from.at)
  t.ok(Math.abs(aheadMs) < 500 + stalledMs(), `${packets.length - from.frames} packets, ${aheadMs} ms ahead`)
  t.ok(gapsMs(packets) <= stalledMs(), 'without gaps, except while the machine pauses')
  const voices = heard.frames.filter((frame) => frame.kind === 'voice')
  t.same(new Set(voices.map(({ producerId }) => producerId)), new Set([paused, muted, vanished].map((speaker) => speaker?.producerId)))
  t.ok(voices.every(({ payload }) => payload.length > 10))
  mix.close()
})

t.test('mixes voices over a bad network: 5 % lost, reordered, 200 ms jitter', async (t) => {
  const { roomId } = await createRoom()
  const mix = await app.sfu.mix(roomId)
  const heard = receive(t, mix, { pcm: true, packets: true })
  const before = { late: await metric('flylive_mix_late_packets_total'), concealed: await metric('flylive_mix_concealed_packets_total{result="concealed"}'), restored: await metric('flylive_mix_concealed_packets_total{result="restored"}') }
  await speak(t, app, roomId, { hz: 500, amplitude: 0.3, via: relay(t, { drop: 0.05, jitterMs: 200, seed: 13 }) })
  // Wait about a second for the delay to adapt to the network.
  await until(() => heard.amplitudes(500)[0] as number > 0.15)
  await until(async () => await metric('flylive_mix_concealed_packets_total{result="restored"}') > before.restored)
  // A mixer thread that has to wait for the CPU skips packets, so two seconds of correct audio are enough.
  await until(async () => {
    const start = heard.frames.length
    const at = performance.now()
    const amplitudes: number[] = []
    while (performance.now() - at < 2000) {
      amplitudes.push(heard.amplitudes(500)[0] as number)
      const { length } = heard.frames
      await until(() => heard.frames.length > length + 4)
    }
    const packets = (heard.frames.length - start) / 2 / (performance.now() - at) * 1000
    if (packets < 48 || packets > 52) throw new Error(`${packets} packets per second`)
    const mean = amplitudes.reduce((sum, amplitude) => sum + amplitude, 0) / amplitudes.length
    if (mean < 0.15) throw new Error(`amplitude ${mean}`)
    return true
  }, 30_000)
  t.pass('the audio has the correct rate and amplitude')
  t.comment(`concealed ${await metric('flylive_mix_concealed_packets_total{result="concealed"}') - before.concealed}, restored ${await metric('flylive_mix_concealed_packets_total{result="restored"}') - before.restored}, late ${await metric('flylive_mix_late_packets_total') - before.late}`)
  mix.close()
})

t.test('mixes the three loudest voices, even if the packets contain no levels', async (t) => {
  const { roomId } = await createRoom()
  const mix = await app.sfu.mix(roomId)
  const heard = receive(t, mix)
  await speak(t, app, roomId, { hz: 400, amplitude: 0.02, hasLevels: false })
  await until(() => near(heard.amplitudes(400)[0] as number, 0.02))
  await Promise.all([600, 900, 1300].map((hz) => speak(t, app, roomId, { hz, amplitude: 0.15, hasLevels: false })))
  await until(() => heard.amplitudes(600, 900, 1300).every((amplitude) => near(amplitude, 0.15)) && (heard.amplitudes(400)[0] as number) < 0.001)
  mix.close()
})

t.test('random packets affect neither the thread nor another room', async (t) => {
  const [{ roomId }, other] = [await createRoom(), await createRoom()]
  const [mix, otherMix] = [await app.sfu.mix(roomId), await app.sfu.mix(other.roomId)]
  const [heard, heardThere] = [receive(t, mix), receive(t, otherMix, { pcm: true, packets: true })]
  await speak(t, app, other.roomId, { hz: 500, amplitude: 0.2 })
  await speak(t, app, roomId, { hz: 700, amplitude: 0.2 })
  await until(() => near(heardThere.amplitudes(500)[0] as number, 0.2))
  const [thread] = app.sfu.mixThreads()
  const before = heardThere.frames.length

  await attack(t, app, roomId, { voices: 3, seed: 99 })
  await until(async () => await metric('flylive_mix_invalid_packets_total') > 50)
  await until(() => heardThere.frames.length > before + 100)
  await until(() => near(heardThere.amplitudes(500)[0] as number, 0.2))
  t.ok(heard.amplitudes(700)[0] as number > 0.05, 'the mix of the attacked room continues, too')
  t.equal(app.sfu.mixThreads()[0], thread)
  t.equal(await metric('flylive_mix_thread_deaths_total'), 0)
  for (const use of [mix, otherMix]) use.close()
})

t.test('a mix exists while it is in use and briefly afterwards', async (t) => {
  const { roomId, member } = await createRoom()
  await until(async () => await metric('flylive_mix_rooms') === 0)
  const [first, second] = [await app.sfu.mix(roomId), await app.sfu.mix(roomId)]
  await until(async () => await metric('flylive_mix_rooms') === 1)
  const heard = receive(t, first)
  first.close()
  first.close()
  t.equal(first.closed, true)
  await until(() => heard.frames.length > 20)
  second.close()
  const third = await app.sfu.mix(roomId)
  t.equal(heard.closed, false, 'a new use within the linger time continues the same mix')
  third.close()
  await until(() => heard.closed)
  await until(async () => await metric('flylive_mix_rooms') === 0)

  const last = await app.sfu.mix(roomId)
  let closes = 0
  last.on('close', () => closes++)
  await member.ok('room:leave')
  await until(() => closes === 1)
  t.equal(last.closed, true, 'the mix closes with its room')
  await t.rejects(app.sfu.mix(roomId), { code: 'ROOM_NOT_FOUND' })
})

t.test('a mixer thread that dies is replaced, and the mixes of its rooms continue', async (t) => {
  const { roomId } = await createRoom()
  const before = transports.length
  const mix = await app.sfu.mix(roomId)
  const output = transports.slice(before).at(-1)
  await speak(t, app, roomId, { hz: 500, amplitude: 0.2 })
  const heard = receive(t, mix)
  await until(() => near(heard.amplitudes(500)[0] as number, 0.2))
  const [thread] = app.sfu.mixThreads()
  await thread?.terminate()
  await until(() => heard.closed)
  await until(() => app.sfu.mixThreads().length === 1)
  const again = await hearAgain(t, mix)
  t.equal(mix.closed, false)
  t.ok(await metric('flylive_mix_thread_deaths_total') >= 1)
  t.ok((again.frames[0]?.timestamp ?? 0) > (heard.frames.at(-1)?.timestamp ?? 0), 'timestamps continue')

  // If the thread's port is taken, the mix reopens on a different port.
  const port = output?.tuple.remotePort as number
  const thief = createSocket('udp4')
  t.teardown(() => { thief.close() })
  app.sfu.mixThreads()[0]?.once('exit', () => thief.bind(port, '127.0.0.1'))
  await app.sfu.mixThreads()[0]?.terminate()
  await until(() => app.sfu.mixThreads().length === 1)
  const moved = await hearAgain(t, mix)
  t.equal(thief.address().port, port)
  t.not(transports.at(-1)?.tuple.remotePort, port)

  process.kill(app.sfu.workers()[0]?.pid as number, 'SIGKILL')
  await until(() => (moved.amplitudes(500)[0] as number) < 0.001)
  t.equal(mix.closed, false, 'the mix survives the death of its media worker')
  mix.close()
})

t.test("an error in one room's mix restarts only that mix", async (t) => {
  const { roomId } = await createRoom()
  const mix = await app.sfu.mix(roomId)
  await speak(t, app, roomId, { hz: 500, amplitude: 0.2 })
  const heard = receive(t, mix, { pcm: true })
  await until(() => near(heard.amplitudes(500)[0] as number, 0.2))
  const thread = app.sfu.mixThreads()[0] as Worker
  const faults: unknown[] = []
  thread.on('message', (message: FromMixer) => { if (message.type === 'fault') faults.push(message.stack) })
  // Make a room's next tick fail: replace `Float32Array.prototype.fill`, which only ticks call.
  await evaluateIn(t, thread, 'Float32Array.prototype.fill = () => { delete Float32Array.prototype.fill; throw new Error("broken") }')
  await until(() => faults.length > 0)
  const { length } = heard.frames
  await until(() => heard.frames.length >= length + 50)
  await until(() => near(heard.amplitudes(500)[0] as number, 0.2))
  t.equal(heard.closed, false)
  t.match(faults, [/broken/])
  t.equal(app.sfu.mixThreads()[0], thread)
  mix.close()
})

t.test('new mixes start in another thread while a thread is busy, and one thread can die without affecting the other', { skip: availableParallelism() > 1 ? false : 'one processor has one mixer thread' }, async (t) => {
  const [first, second] = [await createRoom(), await createRoom()]
  const mix = await app.sfu.mix(first.roomId)
  await speak(t, app, first.roomId, { hz: 500, amplitude: 0.2 })
  const [busy] = app.sfu.mixThreads() as [Worker]
  // Simulate a mixer thread that has many rooms.
  await evaluateIn(t, busy, 'globalThis.load = setInterval(() => { for (const end = performance.now() + 15; performance.now() < end;); }, 1)')
  let reports = 0
  busy.on('message', ({ type }: FromMixer) => { if (type === 'stats') reports++ })
  await until(() => reports >= 2)
  const other = await app.sfu.mix(second.roomId)
  t.equal(app.sfu.mixThreads().length, 2)
  await evaluateIn(t, busy, 'clearInterval(globalThis.load)')
  await speak(t, app, second.roomId, { hz: 700, amplitude: 0.2 })
  const [heard, heardThere] = [receive(t, mix), receive(t, other)]
  const { stalledMs } = createStallClock(t)
  await until(() => near(heard.amplitudes(500)[0] as number, 0.2) && near(heardThere.amplitudes(700)[0] as number, 0.2))
  await until(async () => await metric('flylive_mix_rooms') === 2)

  await busy.terminate()
  await until(() => heard.closed && app.sfu.mixThreads().length === 2)
  await hearAgain(t, mix)
  t.equal(heardThere.closed, false)
  t.ok(gapsMs(heardThere.frames) <= stalledMs(), 'the other mix has no gap, except while the machine pauses')
  for (const use of [mix, other]) use.close()
})

t.test('a thread that does not respond is replaced, and its mixes continue', async (t) => {
  const { roomId } = await createRoom()
  const mix = await app.sfu.mix(roomId)
  await speak(t, app, roomId, { hz: 500, amplitude: 0.2 })
  const heard = receive(t, mix)
  await until(() => near(heard.amplitudes(500)[0] as number, 0.2))
  const deaths = await metric('flylive_mix_thread_deaths_total')
  const before = app.sfu.mixThreads()
  for (const thread of before) await evaluateIn(t, thread, 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)')
  await until(() => heard.closed && app.sfu.mixThreads().length === before.length && !app.sfu.mixThreads().some((thread) => before.includes(thread)), 30_000)
  await hearAgain(t, mix)
  t.ok(await metric('flylive_mix_thread_deaths_total') >= deaths + before.length)
  mix.close()
})
