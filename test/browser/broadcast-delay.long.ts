import t from 'tap'
import type { Page } from 'playwright-core'
import { build } from '../support/build.ts'
import type { TestServer } from '../support/build.ts'
import { openBrowser } from '../support/browser.ts'
import { playedFrequency } from '../support/hls.ts'
import { rtp, sendPaced, tonePackets } from '../support/mix.ts'
import { until } from '../support/retry.ts'

// Measures the delay between sending a tone and its playback on the listening page, with and without low latency. Runs
// for ten minutes (or BROADCAST_MINUTES). Every 12 s, the tone is higher for one second, and the page records when it
// plays the higher tone.

const minutes = Number(process.env.BROADCAST_MINUTES ?? 10)
t.setTimeout((minutes + 5) * 60_000)
t.jobs = 2
const periodMs = 12_000
const [low, high] = [500, 2000]

const rooms = [{ roomId: 'quick', lowLatency: true, limit: 2 }, { roomId: 'plain', lowLatency: false, limit: 9 }]
const browser = await openBrowser(t, 440)

/**
 * Sends a tone to a room. Once per period, the tone is higher for one second.
 *
 * @returns the start time of each higher tone, in epoch milliseconds
 */
async function speakInTurns (server: TestServer, roomId: string, ssrc: number): Promise<number[]> {
  const begun: number[] = []
  const tones = [low, high].map((hz) => tonePackets(hz, 0.3)) as [Uint8Array[], Uint8Array[]]
  const injection = await server.app.sfu.inject(roomId, { userId: roomId, userKey: roomId, nodeId: server.app.nodeId, kind: 'service' }, { ssrc, source: 'voice', levelExtensionId: 1 })
  await sendPaced(t, injection, (i) => {
    const inPeriod = i % (periodMs / 20)
    if (inPeriod === 0) begun.push(Date.now())
    const packets = tones[inPeriod < 50 ? 1 : 0]
    return rtp(ssrc, i, packets[i % packets.length] as Uint8Array, 13)
  })
  return begun
}

async function listen (server: TestServer, roomId: string): Promise<Page> {
  const page = await (await browser.newContext({ reducedMotion: 'reduce' })).newPage()
  page.on('console', (message) => { if (message.text().startsWith('The player failed')) t.fail(`${roomId}: ${message.text()}`) })
  await page.goto(`${server.url}/listen/${roomId}`)
  await page.getByRole('button', { name: 'Listen' }).click({ timeout: 60_000 })
  // The first call of `playedFrequency` also connects the audio analyser.
  await until(async () => await playedFrequency(page) > 0, 60_000)
  await page.evaluate(([low, high]) => {
    const source = window.ear as AnalyserNode
    const ear = new AnalyserNode(source.context, { fftSize: 1024, smoothingTimeConstant: 0 })
    source.connect(ear)
    const levels = new Float32Array(ear.frequencyBinCount)
    const level = (hz: number) => levels[Math.round(hz * ear.fftSize / ear.context.sampleRate)] ?? -Infinity
    let isHigh = true
    const heard: number[] = []
    Object.assign(window, { heard })
    setInterval(() => {
      ear.getFloatFrequencyData(levels)
      const now = level(high as number) > level(low as number)
      if (now && !isHigh) heard.push(Date.now())
      isHigh = now
    }, 5)
  }, [low, high])
  return page
}

for (const [i, { roomId, lowLatency, limit }] of rooms.entries()) {
  t.test(roomId, { buffered: true }, async (t) => {
    // BROADCAST_LOW_LATENCY applies to all rooms of a server, so each test starts its own server.
    const server = await build(t, { env: { FEATURES: 'auth,media,broadcast,stage', MEDIASOUP_WORKERS: '1', BROADCAST_LOW_LATENCY: String(lowLatency) } })
    const owner = await server.connect(1)
    await owner.ok('room:join', { roomId })
    await owner.ok('broadcast:start')
    const begun = await speakInTurns(server, roomId, 70 + i)
    const page = await listen(server, roomId)
    const playlist = await (await fetch(`${server.url}/hls/${roomId}/live.m3u8`)).text()
    t.equal(playlist.includes('#EXT-X-PART:'), lowLatency)
    const end = Date.now() + minutes * 60_000
    await until(() => Date.now() > end, minutes * 60_000 + 60_000)
    const heard = await page.evaluate(() => (window as unknown as { heard: number[] }).heard)
    const delays = heard.map((at) => (at - Math.max(...begun.filter((time) => time < at))) / 1000).sort((a, b) => a - b)
    const at = (quantile: number) => delays[Math.ceil(delays.length * quantile) - 1] ?? NaN
    t.comment(`${roomId}: ${delays.length} changes, delay ${(delays[0] ?? NaN).toFixed(2)}–${at(1).toFixed(2)} s, median ${at(0.5).toFixed(2)} s, p95 ${at(0.95).toFixed(2)} s`)
    t.ok(delays.length > minutes * 60_000 / periodMs - 4, `${delays.length} changes`)
    t.ok(at(0.95) < limit, `p95 ${at(0.95)} s`)
    await page.getByRole('button', { name: 'Pause' }).waitFor()
  })
}
