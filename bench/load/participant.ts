import type { JoinReply, ReplyData, RequestData } from '../../client/protocol.ts'
import { asFailure, Failure } from './failure.ts'
import { createPeer } from './peer.ts'
import type { MediaPeer, TransportParameters } from './peer.ts'
import { StreamReception } from './reception.ts'
import { createRtpWriter, readRtpHeader, writeReceiverReport } from './rtp.ts'
import { connect } from './signalling.ts'
import type { Signalling } from './signalling.ts'
import type { Pacer, SpeechFrame } from './speech.ts'

/** In an `audio:consume` request, this producer id stands for the mix of the room. */
export const mixId = 'mix'
/** Interval between RTCP receiver reports, in milliseconds. Browsers use the same interval for audio. */
const reportMs = 5000
/** Maximum number of report blocks per RTCP packet (RFC 3550, section 6.4.1). */
const maxBlocks = 31
/**
 * If a listener receives no packet within this time, in milliseconds, the listener sends `consumer:resume` requests.
 * Older servers need these requests, because they ignore `paused: false`.
 */
const resumeAfterMs = 250
const levelExtensionId = 1

export interface ParticipantOptions {
  /** Base URL of the server. */
  url: string
  token: string
  roomId: string
}

/** A user who joined a room. */
export interface Participant {
  readonly signalling: Signalling
  /** Time from the start of the connection to the join reply, in milliseconds. */
  readonly joinMs: number
  close (): void
}

export interface SpeakerOptions extends ParticipantOptions {
  /** Index of the seat that the speaker takes if the `seats` feature is on. */
  seatIndex: number
  speech: readonly SpeechFrame[]
  pacer: Pacer
}

export interface ListenerOptions extends ParticipantOptions {
  /** What the listener receives; `voices` means all producers that are in the room when the listener joins. */
  receives: readonly ('voices' | 'mix')[]
}

export interface Listener extends Participant {
  /** The received streams. */
  readonly streams: ReadonlyMap<number, StreamReception>
  /** Ids of the consumers for the voices and for the mix. */
  readonly consumerIds: Readonly<Record<'voices' | 'mix', readonly string[]>>
  /** Time from sending `transport:create` until the transport is connected and all consumers exist, in milliseconds. */
  readonly setUpMs: number
  /** Number of signalling round trips during the set-up. */
  readonly setUpRoundTrips: number
  /**
   * Time from the start of the connection to the first audio packet, in milliseconds; undefined until the packet
   * arrives.
   */
  readonly firstAudioMs: number | undefined
}

/**
 * Joins a room, takes a seat and speaks.
 *
 * @throws Failure
 */
export async function joinSpeaker ({ seatIndex, speech, pacer, ...options }: SpeakerOptions): Promise<Participant> {
  const { signalling, reply, joinMs } = await join(options)
  const payloadType = payloadTypeOf(reply)
  const ssrc = randomSsrc()
  const peer = await createPeer('send', payloadType)
  const write = createRtpWriter({ ssrc, payloadType, levelExtensionId })
  const cleanup = new DisposableStack()
  cleanup.defer(() => signalling.close())
  cleanup.defer(() => peer.close())
  try {
    await signalling.request('seat:take', { seatIndex }).catch((error: unknown) => {
      if (asFailure(error).code !== 'FEATURE_DISABLED') throw error
    })
    const transport = await createTransport(signalling, 'producer')
    await Promise.all([
      connectTransport(signalling, transport, peer),
      signalling.request('audio:produce', {
        transportId: transport.id,
        kind: 'audio',
        rtpParameters: {
          codecs: [{ mimeType: 'audio/opus', payloadType, clockRate: 48_000, channels: 2, parameters: { useinbandfec: 1 } }],
          headerExtensions: [{ uri: 'urn:ietf:params:rtp-hdrext:ssrc-audio-level', id: levelExtensionId }],
          encodings: [{ ssrc }],
          rtcp: { cname: `load-${ssrc}` }
        }
      } as RequestData<'audio:produce'>)
    ])
    cleanup.defer(pacer.start(speech, ({ payload, level }) => peer.send(write(payload, level))))
    return { signalling, joinMs, close: () => cleanup.dispose() }
  } catch (error) {
    cleanup.dispose()
    throw error
  }
}

/**
 * Joins a room and receives audio. The set-up takes two round trips: `transport:create`, then `transport:connect`
 * together with all `audio:consume` requests.
 *
 * @throws Failure; `NO_MIX` if the server offers no mix
 */
export async function joinListener ({ receives, ...options }: ListenerOptions): Promise<Listener> {
  const begin = performance.now()
  const { signalling, reply, joinMs } = await join(options)
  const streams = new Map<number, StreamReception>()
  let firstAudioMs: number | undefined
  const received = (packet: Buffer) => {
    const header = readRtpHeader(packet)
    if (!header) return
    const now = performance.now()
    firstAudioMs ??= now - begin
    let stream = streams.get(header.ssrc)
    if (!stream) streams.set(header.ssrc, stream = new StreamReception(header.ssrc))
    stream.add(header, now)
  }
  const [startedAt, tripsBefore] = [performance.now(), signalling.roundTrips]
  const peer = await createPeer('receive', payloadTypeOf(reply), received)
  const cleanup = new DisposableStack()
  cleanup.defer(() => signalling.close())
  cleanup.defer(() => peer.close())
  try {
    const transport = await createTransport(signalling, 'consumer')
    const producerIds = {
      voices: receives.includes('voices') ? (reply.existingProducers ?? []).map(({ producerId }) => producerId) : [],
      mix: receives.includes('mix') ? [mixId] : []
    }
    const [voices, mix] = await Promise.all([
      consume(signalling, transport.id, producerIds.voices, reply),
      consume(signalling, transport.id, producerIds.mix, reply),
      connectTransport(signalling, transport, peer)
    ])
    const setUpMs = performance.now() - startedAt
    const setUpRoundTrips = signalling.roundTrips - tripsBefore
    cleanup.defer(resumeIfSilent(signalling, [...voices, ...mix], () => firstAudioMs !== undefined))
    cleanup.defer(sendReports(peer, streams))
    return {
      signalling,
      joinMs,
      streams,
      consumerIds: { voices, mix },
      setUpMs,
      setUpRoundTrips,
      get firstAudioMs () {
        return firstAudioMs
      },
      close: () => cleanup.dispose()
    }
  } catch (error) {
    cleanup.dispose()
    throw error
  }
}

async function join ({ url, token, roomId }: ParticipantOptions): Promise<{ signalling: Signalling, reply: JoinReply, joinMs: number }> {
  const begin = performance.now()
  const signalling = await connect(url, token)
  try {
    const reply = await signalling.request('room:join', { roomId }) as JoinReply
    const joinMs = performance.now() - begin
    if (!reply.rtpCapabilities) throw new Failure('FEATURE_DISABLED', 'The media feature is off, so rooms have no audio')
    return { signalling, reply, joinMs }
  } catch (error) {
    signalling.close()
    throw error
  }
}

async function createTransport (signalling: Signalling, type: 'producer' | 'consumer'): Promise<TransportParameters> {
  return await signalling.request('transport:create', { type }) as unknown as TransportParameters
}

/**
 * Connects a transport. Like a browser, sends no packets until the reply to `transport:connect` arrives, because the
 * server drops earlier DTLS packets.
 */
async function connectTransport (signalling: Signalling, transport: TransportParameters, { dtlsParameters, connect }: MediaPeer): Promise<void> {
  await signalling.request('transport:connect', { transportId: transport.id, dtlsParameters })
  await connect(transport)
}

/** @returns the ids of the consumers */
async function consume (signalling: Signalling, transportId: string, producerIds: readonly string[], { rtpCapabilities }: JoinReply): Promise<string[]> {
  return await Promise.all(producerIds.map(async (producerId) => {
    const request = signalling.request('audio:consume', { transportId, producerId, rtpCapabilities, paused: false } as unknown as RequestData<'audio:consume'>)
    const { id }: ReplyData<'audio:consume'> = await request.catch((error: unknown) => { throw producerId === mixId ? asNoMix(error) : error })
    return id
  }))
}

/**
 * If a server has no `mix` feature or the feature is off, a request for the mix fails with one of these error codes.
 */
const noMixCodes = new Set(['FEATURE_DISABLED', 'PRODUCER_NOT_FOUND', 'VALIDATION_FAILED'])

function asNoMix (error: unknown): Failure {
  const { code, message } = asFailure(error)
  if (!noMixCodes.has(code)) return asFailure(error)
  return new Failure('NO_MIX', `The server offers no mix (${code}: ${message}). Turn the feature mix on, or use --mode voices`, { cause: error })
}

function resumeIfSilent (signalling: Signalling, consumerIds: readonly string[], hasAudio: () => boolean): () => void {
  const timer = setTimeout(() => {
    if (hasAudio()) return
    for (const consumerId of consumerIds) signalling.request('consumer:resume', { consumerId }).catch(() => { /* If this fails, the report shows that no audio arrived. */ })
  }, resumeAfterMs)
  return () => clearTimeout(timer)
}

function sendReports (peer: MediaPeer, streams: ReadonlyMap<number, StreamReception>): () => void {
  const ssrc = randomSsrc()
  // Start at a random time so that the listeners do not all report at once.
  let timer = setTimeout(report, Math.random() * reportMs)
  function report (): void {
    const blocks = [...streams.values()].map((stream) => stream.report())
    for (let at = 0; at < blocks.length; at += maxBlocks) peer.send(writeReceiverReport(ssrc, blocks.slice(at, at + maxBlocks)))
    timer = setTimeout(report, reportMs)
  }
  return () => clearTimeout(timer)
}

function payloadTypeOf ({ rtpCapabilities }: JoinReply): number {
  const { codecs = [] } = rtpCapabilities as { codecs?: { mimeType: string, preferredPayloadType: number }[] }
  return codecs.find(({ mimeType }) => mimeType.toLowerCase() === 'audio/opus')?.preferredPayloadType ?? 100
}

const randomSsrc = () => 1 + Math.floor(Math.random() * 0xfffffffe)
