import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { build as bundle } from 'esbuild'
import type { Device, types } from 'mediasoup-client'
import type { io } from 'socket.io-client'
import t from 'tap'
import { build, tokenFor } from '../support/build.ts'
import { expectTone, openBrowser } from '../support/browser.ts'
import { enterOn } from '../support/client-page.ts'
import { until } from '../support/retry.ts'

// Tests a page that uses only socket.io-client and mediasoup-client, as the old server's documentation describes. To
// save CPU time, the client of the other user runs on the same page.

interface Page {
  Device: typeof Device
  io: typeof io
  failures: string[]
  /** The frequency of the received audio in hertz; 0 before audio arrives. */
  frequency (): number
  mute (): Promise<unknown>
}

declare global {
  interface Window {
    socketIoPage: Page
  }
}

/**
 * Starts a web site whose origin differs from the server's. The page of this site loads the two libraries and the
 * client.
 */
async function createSite (): Promise<string> {
  const contents = `import { io } from "socket.io-client"; import { Device } from "mediasoup-client"; import { RoomClient } from "../../client/index.ts"
    Object.assign(window, { RoomClient, socketIoPage: { io, Device, failures: [] } })`
  const { outputFiles: [script] } = await bundle({ stdin: { contents, resolveDir: import.meta.dirname }, bundle: true, write: false, format: 'esm', platform: 'browser' })
  const site = createServer(({ url }, response) => {
    if (url === '/libraries.js') return response.setHeader('content-type', 'text/javascript').end(script?.text)
    response.setHeader('content-type', 'text/html').end('<script type="module" src="/libraries.js"></script>')
  })
  await new Promise<void>((resolve) => site.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    site.close()
    site.closeAllConnections()
  })
  return `http://127.0.0.1:${(site.address() as AddressInfo).port}`
}

/** Runs in the page: joins, takes a seat, speaks, and plays the other users' audio. */
async function speakAndListen ({ url, token, roomId }: { url: string, token: string, roomId: string }): Promise<string> {
  const { Device, io, failures } = window.socketIoPage
  const socket = io(url, { auth: { token } })
  socket.on('connect_error', ({ message }) => failures.push(message))
  socket.on('error', ({ message }: { message: string }) => failures.push(message))
  // Sends a request. The promise resolves with the reply's data or rejects with the reply's error.
  const ask = (type: string, data: object) => new Promise<never>((resolve, reject) => {
    socket.emit(type, { roomId, ...data }, ({ success, data, error, ...flat }: { success: boolean, data?: never, error?: string }) => {
      if (success) resolve(data ?? flat as never)
      else reject(new Error(`${type}: ${error}`))
    })
  })
  await new Promise<void>((resolve) => socket.on('connect', resolve))
  const newProducers: string[] = []
  let consume = (producerId: string) => { newProducers.push(producerId) }
  socket.on('audio:newProducer', ({ producerId }: { producerId: string }) => consume(producerId))

  const { rtpCapabilities, existingProducers } = await ask('room:join', {}) as { rtpCapabilities: types.RtpCapabilities, existingProducers: { producerId: string }[] }
  const device = new Device()
  await device.load({ routerRtpCapabilities: rtpCapabilities })
  const connectWith = (transport: types.Transport) => {
    transport.on('connect', ({ dtlsParameters }, done, failed) => { ask('transport:connect', { transportId: transport.id, dtlsParameters }).then(done, failed) })
  }

  const receiving = device.createRecvTransport(await ask('transport:create', { type: 'consumer' }))
  connectWith(receiving)
  const context = new AudioContext()
  const analyser = new AnalyserNode(context, { fftSize: 32_768, smoothingTimeConstant: 0 })
  consume = async (producerId) => {
    const parameters = await ask('audio:consume', { transportId: receiving.id, producerId, rtpCapabilities: device.recvRtpCapabilities }) as types.ConsumerOptions
    const { id, track } = await receiving.consume(parameters)
    const stream = new MediaStream([track])
    // Chromium passes remote audio to an AudioContext only if a media element plays that audio.
    Object.assign(document.createElement('audio'), { srcObject: stream, muted: true, autoplay: true })
    context.createMediaStreamSource(stream).connect(analyser)
    await ask('consumer:resume', { consumerId: id })
  }
  for (const producerId of [...existingProducers.map(({ producerId }) => producerId), ...newProducers]) consume(producerId)
  window.socketIoPage.frequency = () => {
    const levels = new Float32Array(analyser.frequencyBinCount)
    analyser.getFloatFrequencyData(levels)
    const peak = levels.indexOf(Math.max(...levels))
    return (levels[peak] ?? -Infinity) < -80 ? 0 : peak * context.sampleRate / analyser.fftSize
  }

  await ask('seat:take', { seatIndex: 5 })
  const sending = device.createSendTransport(await ask('transport:create', { type: 'producer' }))
  connectWith(sending)
  sending.on('produce', ({ kind, rtpParameters }, done, failed) => { ask('audio:produce', { transportId: sending.id, kind, rtpParameters }).then(done, failed) })
  const [track] = (await navigator.mediaDevices.getUserMedia({ audio: true })).getAudioTracks() as [MediaStreamTrack]
  const producer = await sending.produce({ track })
  window.socketIoPage.mute = async () => ask('audio:selfMute', { producerId: producer.id })
  return socket.io.engine.transport.name
}

/** Runs in the page: sends a tone with the client. */
async function publishTone (hz: number): Promise<void> {
  const context = new AudioContext({ latencyHint: 'playback' })
  const output = context.createMediaStreamDestination()
  const tone = new OscillatorNode(context, { frequency: hz })
  tone.connect(new GainNode(context, { gain: 0.3 })).connect(output)
  tone.start()
  await window.flylive?.seats.takeFree()
  await window.flylive?.audio?.publish(output.stream.getAudioTracks()[0] as MediaStreamTrack)
}

t.test('a user of socket.io-client and mediasoup-client exchanges audio with a user of the client', async (t) => {
  const site = await createSite()
  const [server, browser] = await Promise.all([
    build(t, { env: { FEATURES: 'auth,media,seats,chat,socket-io', CORS_ORIGINS: site } }),
    openBrowser(t, 440)
  ])
  const page = await (await browser.newContext({ permissions: ['microphone'] })).newPage()
  page.on('pageerror', (error) => t.fail(`the page has an error: ${error.stack}`))
  await page.goto(site)
  await page.waitForFunction(() => 'socketIoPage' in window)
  await enterOn(page, { url: server.url, roomId: 'lobby', id: 8, audio: { play: true } })
  await page.evaluate(publishTone, 1000)
  t.match(await page.evaluate(speakAndListen, { url: server.url, token: tokenFor(7, { name: 'Ada' }), roomId: 'lobby' }), /websocket|polling/)

  await expectTone(page, 'Ada', 440)
  t.equal(await page.evaluate(() => window.flylive?.participants.find(({ profile }) => profile.name === 'Ada')?.microphone), 'live')
  await until(async () => Math.abs(await page.evaluate(() => window.socketIoPage.frequency()) - 1000) < 3)
  await page.evaluate(() => window.socketIoPage.mute())
  await expectTone(page, 'Ada', 0)
  t.same(await page.evaluate(() => window.socketIoPage.failures), [])
})
