import { observer } from 'mediasoup'
import t from 'tap'
import type { Page } from 'playwright-core'
import { build } from '../support/build.ts'
import { expectTone, openBrowser } from '../support/browser.ts'
import { clientSite, enterOn } from '../support/client-page.ts'
import { until } from '../support/retry.ts'

declare global {
  interface Window {
    /** The audio elements of the page. */
    elements: HTMLAudioElement[]
    /** The audio contexts of the page. */
    contexts: AudioContext[]
    /** The server's session descriptions (SDP) that the page received. */
    sdp: string[]
  }
}

// Tests the `play` option, which makes the client play the tracks that it receives. The tests cover volumes, the
// speaker device and music.

/** Codec parameters by producer source. */
const sent = new Map<unknown, Record<string, unknown> | undefined>()
observer.on('newworker', (worker) => worker.observer.on('newrouter', (router) => router.observer.on('newtransport', (transport) => {
  transport.observer.on('newproducer', ({ appData, rtpParameters }) => sent.set(appData.source, rtpParameters.codecs[0]?.parameters as Record<string, unknown>))
})))

const site = await clientSite(t)
const [server, browser, listening] = await Promise.all([
  build(t, { env: { FEATURES: 'auth,media', CORS_ORIGINS: site.origin, MUSIC_MAX_KBPS: '192' } }),
  openBrowser(t, 440),
  openBrowser(t, 1000)
])

/** Runs in the page: records the audio elements. */
function recordElements (): void {
  window.elements = []
  window.contexts = []
  const { Audio: Original } = window
  window.Audio = function (...args: ConstructorParameters<typeof Audio>) {
    const element = new Original(...args)
    window.elements.push(element)
    return element
  } as unknown as typeof Audio
}

/** Runs in the page: records the server's session descriptions. */
function recordSdp (): void {
  window.sdp = []
  const { prototype } = RTCPeerConnection
  const set = prototype.setRemoteDescription as (description: RTCSessionDescriptionInit) => Promise<void>
  prototype.setRemoteDescription = function (this: RTCPeerConnection, description: RTCSessionDescriptionInit) {
    window.sdp.push(description.sdp ?? '')
    return set.call(this, description)
  } as typeof set
}

/** Runs in the page: makes the volume of audio elements have no effect, as on an iPhone. */
function fixVolume (): void {
  Object.defineProperty(HTMLMediaElement.prototype, 'volume', { get: () => 1, set () {} })
  const { AudioContext: Original } = window
  window.AudioContext = function (...args: ConstructorParameters<typeof AudioContext>) {
    const context = new Original(...args)
    window.contexts.push(context)
    return context
  } as unknown as typeof AudioContext
}

const volumesOn = (page: Page) => page.evaluate(() => window.elements.filter(({ srcObject }) => srcObject !== null).map(({ volume }) => Number(volume.toFixed(2))))
const playback = (page: Page) => page.evaluateHandle(() => {
  const found = window.flylive?.audio?.playback
  if (!found) throw new Error('The page has no client')
  return found
})

const ada = await site.open(browser, (page) => page.addInitScript(recordSdp))
const bob = await site.open(listening, (page) => page.addInitScript(recordElements))
await enterOn(bob, { url: server.url, roomId: 'r1', id: 2, audio: { play: true } })
await enterOn(ada, { url: server.url, roomId: 'r1', id: 1 })
const bobs = await playback(bob)

t.test('sends voice with DTX and stereo music at the same time', async (t) => {
  await ada.evaluate(async () => {
    const { audio } = window.flylive as NonNullable<typeof window.flylive>
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true })
    await audio?.publish(stream.getAudioTracks()[0] as MediaStreamTrack)
    // The left channel contains a 600 Hz tone, and the right channel contains a 900 Hz tone.
    const context = new AudioContext()
    const [merger, output] = [new ChannelMergerNode(context, { numberOfInputs: 2 }), context.createMediaStreamDestination()]
    for (const [channel, frequency] of [600, 900].entries()) {
      const tone = new OscillatorNode(context, { frequency })
      tone.connect(new GainNode(context, { gain: 0.3 })).connect(merger, 0, channel)
      tone.start()
    }
    merger.connect(output)
    await audio?.publish(output.stream.getAudioTracks()[0] as MediaStreamTrack, { source: 'music' })
  })
  t.same(await ada.evaluate(() => [window.flylive?.audio?.microphone, window.flylive?.audio?.music]), ['live', 'live'])
  await expectTone(bob, 'User 1', 440)
  t.same(await bob.evaluate(() => window.flylive?.audio?.producers.map(({ source }) => source)), ['voice', 'music'])
  t.match(await bob.evaluate(() => window.flylive?.participants.find(({ userId }) => userId === 1)), { microphone: 'live', isSharingMusic: true })
  t.match(await ada.evaluate(() => window.flylive?.participants.find(({ isSelf }) => isSelf)), { microphone: 'live', isSharingMusic: true })

  const channels = await bob.evaluate(async () => {
    const heard = window.flylive?.audio?.heard.find(({ source }) => source === 'music')
    const context = new AudioContext()
    const source = context.createMediaStreamSource(new MediaStream([heard?.track as MediaStreamTrack]))
    const splitter = new ChannelSplitterNode(context, { numberOfOutputs: 2 })
    source.connect(splitter)
    const analysers = [0, 1].map((channel) => {
      const analyser = new AnalyserNode(context, { fftSize: 8192, smoothingTimeConstant: 0 })
      splitter.connect(analyser, channel)
      return analyser
    })
    const peaks = () => analysers.map((analyser) => {
      const levels = new Float32Array(analyser.frequencyBinCount)
      analyser.getFloatFrequencyData(levels)
      const peak = levels.reduce((best, level, bin) => level > (levels[best] as number) ? bin : best, 0)
      return Math.round(peak * context.sampleRate / analyser.fftSize)
    })
    const end = context.currentTime + 5
    while (context.currentTime < end && !(Math.abs((peaks()[0] ?? 0) - 600) < 8 && Math.abs((peaks()[1] ?? 0) - 900) < 8)) await new Promise(requestAnimationFrame)
    return peaks()
  })
  t.ok(Math.abs((channels[0] ?? 0) - 600) < 8 && Math.abs((channels[1] ?? 0) - 900) < 8, `left ${channels[0]} Hz, right ${channels[1]} Hz`)
  t.match(sent.get('voice'), { usedtx: 1, useinbandfec: 1, 'sprop-stereo': 0 })
  t.match(sent.get('music'), { usedtx: 0, 'sprop-stereo': 1 })
  t.match(await ada.evaluate(() => window.sdp.at(-1)), /stereo=1;.*maxaveragebitrate=192000|maxaveragebitrate=192000.*stereo=1/, 'music is sent in stereo at the bit rate that the server allows')
})

t.test('a muted microphone does not stop the music', async (t) => {
  await ada.evaluate(() => window.flylive?.audio?.mute())
  await until(() => bob.evaluate(() => window.flylive?.audio?.producers.some(({ source, isPaused }) => source === 'voice' && isPaused) === true))
  t.match(await bob.evaluate(() => window.flylive?.audio?.producers.find(({ source }) => source === 'music')), { isPaused: false })
  t.match(await bob.evaluate(() => window.flylive?.participants.find(({ userId }) => userId === 1)), { microphone: 'muted', isSharingMusic: true })
  await ada.evaluate(() => window.flylive?.audio?.unmute())
  await expectTone(bob, 'User 1', 440)
})

t.test('the client plays each track at the volume set for its user', async (t) => {
  t.same(await volumesOn(bob), [1, 1])
  await bobs.evaluate((playback) => playback.setVolume('1', 0.25))
  t.same(await volumesOn(bob), [0.25, 0.25], 'the volume applies to voice and music, and the id may be a string')
  t.equal(await bobs.evaluate((playback) => playback.volumeOf(1)), 0.25)
  await bobs.evaluate((playback) => playback.setVolume(1, 7))
  t.same(await volumesOn(bob), [1, 1], 'the volume is at most 1')
  await bobs.evaluate((playback) => playback.setVolume(1, 0.5))
  await ada.evaluate(() => window.flylive?.audio?.unpublish('music'))
  await until(async () => (await volumesOn(bob)).length === 1)
  t.same(await volumesOn(bob), [0.5])
  t.equal(await ada.evaluate(() => window.flylive?.audio?.music), 'off')
  await bobs.evaluate((playback) => playback.setMixVolume(0.1))
  t.same(await volumesOn(bob), [0.5], 'the volume of the mix does not affect voices')
})

t.test('the speaker device can be selected', async (t) => {
  const deviceId = await bob.evaluate(async () => {
    const devices = await navigator.mediaDevices.enumerateDevices()
    return devices.find(({ kind, deviceId }) => kind === 'audiooutput' && deviceId !== 'default' && deviceId !== '')?.deviceId ?? ''
  })
  t.not(deviceId, '')
  const sinks = () => bob.evaluate(() => window.elements.filter(({ srcObject }) => srcObject !== null).map((element) => (element as unknown as { sinkId: string }).sinkId))
  await bobs.evaluate((playback, deviceId) => playback.setSpeaker(deviceId), deviceId)
  t.same(await sinks(), [deviceId])
  const failure = await bobs.evaluate((playback) => playback.setSpeaker('unknown').catch((error: Error) => error.name))
  t.equal(failure, 'NotFoundError')
  t.equal(await bobs.evaluate((playback) => playback.speaker), deviceId)
  t.same(await sinks(), [deviceId], 'the speaker has not changed')
  await bobs.evaluate((playback) => playback.setSpeaker(''))
  t.same(await sinks(), [''])
})

t.test('setReceive() changes what the client receives at any time', async (t) => {
  await bob.evaluate(() => window.flylive?.audio?.setReceive(false))
  t.same(await bob.evaluate(() => [window.flylive?.audio?.heard.length, window.flylive?.audio?.reception, window.flylive?.audio?.receive]), [0, undefined, false])
  t.same(await volumesOn(bob), [])
  t.equal(await bob.evaluate(() => window.flylive?.audio?.producers.length), 1)
  await bob.evaluate(() => window.flylive?.audio?.setReceive('mix'))
  await expectTone(bob, 'User 1', 440)
  t.equal(await bob.evaluate(() => window.flylive?.audio?.reception), 'voices', 'this server has no mix')
  t.same(await volumesOn(bob), [0.5])
})

// playback.long.ts sets ALL_CASES.
if (process.env.ALL_CASES !== undefined) {
  t.test('changes volumes on devices such as iPhones, which ignore the volume of audio elements', async (t) => {
    const cyd = await site.open(listening, async (page) => {
      await page.addInitScript(recordElements)
      await page.addInitScript(fixVolume)
    })
    await enterOn(cyd, { url: server.url, roomId: 'r1', id: 3, audio: { play: true } })
    await expectTone(cyd, 'User 1', 440)
    t.same(await cyd.evaluate(() => [window.elements.at(-1)?.muted, window.contexts.find(({ state }) => state === 'running') !== undefined]), [true, true])
    await (await playback(cyd)).evaluate((playback) => playback.setVolume(1, 0))
    await cyd.evaluate(() => window.flylive?.leave())
    await until(() => cyd.evaluate(() => window.contexts.every(({ state }) => state === 'closed')))
    t.pass('its audio contexts are closed')
  })
}
