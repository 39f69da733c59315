// Runs in the page: speakers send tones, and a listener receives the mix.
import { Device } from 'mediasoup-client'
import type { types } from 'mediasoup-client'

interface Reply { id: number, ok: boolean, data: Record<string, unknown>, error?: { code: string } }
type Request = (type: string, data?: object) => Promise<Record<string, unknown>>

async function connect (url: string, token: string): Promise<Request> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/ws`, ['msab.v1', `bearer.${token}`])
  const waiting = new Map<number, (reply: Reply) => void>()
  let nextId = 0
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data as string) as Reply
    waiting.get(message.id)?.(message)
  }
  await new Promise((resolve) => { socket.onopen = resolve })
  return async (type, data = {}) => {
    const id = ++nextId
    const reply = new Promise<Reply>((resolve) => waiting.set(id, resolve))
    socket.send(JSON.stringify({ id, type, data }))
    const { ok, data: result, error } = await reply
    if (!ok) throw new Error(`${type}: ${error?.code}`)
    return result
  }
}

async function join (url: string, token: string, roomId: string) {
  const request = await connect(url, token)
  const device = new Device()
  await device.load({ routerRtpCapabilities: (await request('room:join', { roomId })).rtpCapabilities as types.RtpCapabilities })
  const connectTransport = (transport: types.Transport) => transport.on('connect', ({ dtlsParameters }, done, failed) => {
    request('transport:connect', { transportId: transport.id, dtlsParameters }).then(() => done(), failed)
  })
  return { request, device, connectTransport }
}

/** Sends a tone to a room. */
async function speak (url: string, token: string, roomId: string, hz: number, gain: number): Promise<void> {
  const { request, device, connectTransport } = await join(url, token, roomId)
  const transport = device.createSendTransport(await request('transport:create', { type: 'producer' }) as unknown as types.TransportOptions)
  connectTransport(transport)
  transport.on('produce', ({ kind, rtpParameters }, done, failed) => {
    request('audio:produce', { transportId: transport.id, kind, rtpParameters }).then(({ id }) => done({ id: id as string }), failed)
  })
  const context = new AudioContext({ latencyHint: 'playback' })
  const oscillator = new OscillatorNode(context, { frequency: hz })
  const output = context.createMediaStreamDestination()
  oscillator.connect(new GainNode(context, { gain })).connect(output)
  oscillator.start()
  await transport.produce({ track: output.stream.getAudioTracks()[0] as MediaStreamTrack })
}

let analyser: AnalyserNode
let consumer: types.Consumer

/** Receives the mix of a room. */
async function listen (url: string, token: string, roomId: string): Promise<void> {
  const { request, device, connectTransport } = await join(url, token, roomId)
  const transport = device.createRecvTransport(await request('transport:create', { type: 'consumer' }) as unknown as types.TransportOptions)
  connectTransport(transport)
  const options = await request('audio:consume', { transportId: transport.id, producerId: 'mix', rtpCapabilities: device.recvRtpCapabilities, paused: false })
  consumer = await transport.consume(options as unknown as types.ConsumerOptions)
  const context = new AudioContext()
  analyser = new AnalyserNode(context, { fftSize: 32_768, smoothingTimeConstant: 0 })
  const stream = new MediaStream([consumer.track])
  // Chromium decodes a remote track only while a media element plays the track.
  document.body.append(Object.assign(new Audio(), { autoplay: true, muted: true, srcObject: stream }))
  context.createMediaStreamSource(stream).connect(analyser)
}

/** @returns the level of each frequency in the last 0.7 s of the mix, in dB */
function levels (...hz: number[]): number[] {
  const spectrum = new Float32Array(analyser.frequencyBinCount)
  analyser.getFloatFrequencyData(spectrum)
  return hz.map((frequency) => {
    const bin = Math.round(frequency * analyser.fftSize / analyser.context.sampleRate)
    return Math.max(...spectrum.subarray(bin - 2, bin + 3))
  })
}

async function stats () {
  const reports = [...(await consumer.getStats()).values()] as { type: string }[]
  return reports.find(({ type }) => type === 'inbound-rtp') as unknown as { timestamp: number, packetsReceived: number, packetsLost: number, concealedSamples: number, totalSamplesReceived: number }
}

export const mixPage = { speak, listen, levels, stats }
Object.assign(window, { mixPage })
