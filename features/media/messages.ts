import { roomId, userId, z } from 'flylive-audio-server/feature'
import type { EventMap, RequestMap } from 'flylive-audio-server/feature'

// Schemas of WebRTC parameters. The schemas are as strict as possible, to protect the media workers from invalid input.

const mediaId = z.string().min(1).max(64)
const shortText = z.string().max(256)
const uint32 = z.int().min(0).max(0xffffffff)

/** Length of a certificate fingerprint in bytes, by hash function (RFC 8122, section 5). */
const digestOctets = { 'sha-1': 20, 'sha-224': 28, 'sha-256': 32, 'sha-384': 48, 'sha-512': 64 }

const fingerprint = z.object({
  algorithm: z.enum(['sha-1', 'sha-224', 'sha-256', 'sha-384', 'sha-512']),
  value: z.string().max(200)
}).refine(({ algorithm, value }) => new RegExp(`^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){${digestOctets[algorithm] - 1}}$`).test(value), {
  path: ['value'],
  message: 'must be colon-separated hex, of the length that the algorithm requires'
})

export const dtlsParameters = z.object({
  role: z.enum(['auto', 'client', 'server']).optional(),
  fingerprints: z.array(fingerprint).min(1).max(10)
})

/** Codec parameters, as in the `fmtp` line of an SDP. */
const codecParameters = z.record(z.string().max(64), z.union([z.int().min(-0x80000000).max(0x7fffffff), shortText, z.boolean(), z.null()]))
  .refine((parameters) => Object.keys(parameters).length <= 32, 'has too many entries')

const rtcpFeedback = z.array(z.object({ type: z.string().min(1).max(64), parameter: shortText.optional() })).max(16)

const headerExtensionUri = z.enum([
  'urn:ietf:params:rtp-hdrext:sdes:mid',
  'urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id',
  'urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id',
  'http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time',
  'http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01',
  'urn:ietf:params:rtp-hdrext:ssrc-audio-level',
  'https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension',
  'urn:3gpp:video-orientation',
  'http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time',
  'urn:ietf:params:rtp-hdrext:toffset',
  'http://www.webrtc.org/experiments/rtp-hdrext/playout-delay',
  'urn:mediasoup:params:rtp-hdrext:packet-id'
])

const payloadType = z.int().min(0).max(127)
const opus = z.string().regex(/^audio\/opus$/i, 'must be audio/opus')

const unique = (key: 'id' | 'uri') => (items: readonly { id: number, uri: string }[]) => new Set(items.map((item) => item[key])).size === items.length

export const rtpParameters = z.object({
  // The MID is sent in a header extension (RFC 8843). The one-byte form of header extensions (RFC 8285) allows at most
  // 16 bytes.
  mid: z.string().min(1).max(16).optional(),
  codecs: z.array(z.object({
    mimeType: opus,
    payloadType,
    clockRate: z.literal(48_000),
    channels: z.int().min(1).max(2).optional(),
    parameters: codecParameters.optional(),
    rtcpFeedback: rtcpFeedback.optional()
  })).min(1).max(1),
  headerExtensions: z.array(z.object({
    uri: headerExtensionUri,
    id: z.int().min(1).max(255),
    encrypt: z.boolean().optional(),
    parameters: codecParameters.optional()
  })).max(16)
    .refine(unique('id'), 'must not repeat an id')
    .refine(unique('uri'), 'must not repeat a uri')
    .optional(),
  encodings: z.array(z.object({
    ssrc: uint32.min(1),
    codecPayloadType: payloadType.optional(),
    dtx: z.boolean().optional(),
    maxBitrate: z.int().min(1).max(10_000_000).optional()
  })).min(1).max(1),
  rtcp: z.object({ cname: shortText.optional(), reducedSize: z.boolean().optional(), mux: z.boolean().optional() }).optional(),
  msid: shortText.optional()
})

/** A receiver's RTP capabilities, which may include codecs and extensions that the server does not use. */
export const rtpCapabilities = z.object({
  codecs: z.array(z.object({
    kind: z.enum(['audio', 'video']),
    mimeType: z.string().regex(/^(audio|video)\/[A-Za-z0-9-]{1,32}$/),
    preferredPayloadType: payloadType,
    clockRate: z.int().min(1).max(1_000_000),
    channels: z.int().min(1).max(255).optional(),
    parameters: codecParameters.optional(),
    rtcpFeedback: rtcpFeedback.optional()
  })).min(1).max(64),
  headerExtensions: z.array(z.object({
    kind: z.enum(['audio', 'video']),
    uri: z.string().min(1).max(256),
    preferredId: z.int().min(1).max(255),
    preferredEncrypt: z.boolean().optional(),
    direction: z.enum(['sendrecv', 'sendonly', 'recvonly', 'inactive']).optional()
  })).max(64).optional()
})

/** Parameters that clients pass to their WebRTC stack unchanged. */
const opaque = z.looseObject({})

const nothing = z.object({})

const source = z.enum(['voice', 'music'])

export const requests = {
  'transport:create': {
    request: z.object({ type: z.enum(['producer', 'consumer']) }).describe('Creates a transport for sending or for receiving. A new transport replaces the previous one of the same type'),
    reply: z.object({
      id: mediaId,
      iceParameters: opaque,
      iceCandidates: z.array(opaque),
      dtlsParameters: opaque
    })
  },
  'transport:connect': {
    request: z.object({ transportId: mediaId, dtlsParameters }).describe('Connects a transport with the DTLS parameters of the client'),
    reply: nothing
  },
  'transport:restartIce': {
    request: z.object({ transportId: mediaId }).describe('Returns new ICE credentials. Clients send this request after their network has changed'),
    reply: z.object({ iceParameters: opaque })
  },
  'audio:produce': {
    request: z.object({
      transportId: mediaId,
      kind: z.literal('audio'),
      rtpParameters,
      source: source.default('voice').describe('Music has a separate bit rate limit, may be stereo, and does not make its sender an active speaker')
    }).describe('Starts sending audio to the room. If the seats feature is enabled, only seated users can send audio, except in rooms without an owner'),
    reply: z.object({ id: mediaId })
  },
  'audio:closeProducer': {
    request: z.object({ producerId: mediaId }).describe('Stops sending audio'),
    reply: nothing
  },
  'audio:selfMute': {
    request: z.object({ producerId: mediaId }).describe("Mutes one of the sender's producers"),
    reply: nothing
  },
  'audio:selfUnmute': {
    request: z.object({ producerId: mediaId }).describe("Unmutes one of the sender's producers. The producer stays paused while the sender is muted by the owner or an admin"),
    reply: nothing
  },
  'audio:consume': {
    request: z.object({
      transportId: mediaId,
      producerId: mediaId.describe("A producer in the room, or `mix` for the room's mix (from the mix feature)"),
      rtpCapabilities,
      paused: z.boolean().default(true).describe('Whether the consumer starts paused and stays paused until consumer:resume')
    }).describe('Starts receiving the audio of a producer'),
    reply: z.object({ id: mediaId, producerId: mediaId, kind: z.literal('audio'), rtpParameters: opaque })
  },
  'consumer:resume': {
    request: z.object({ consumerId: mediaId }).describe('Resumes the audio of a consumer'),
    reply: z.object({ deferred: z.literal(true).optional().describe('true if the producer is paused. Audio starts when the producer resumes') })
  },
  'consumer:pause': {
    request: z.object({ consumerId: mediaId }).describe('Pauses the audio of a consumer'),
    reply: nothing
  },
  'consumer:close': {
    request: z.object({ consumerId: mediaId }).describe('Stops receiving the audio of a producer'),
    reply: nothing
  }
} satisfies RequestMap

const producerEvent = z.object({ roomId, producerId: mediaId, userId, source })

export const events = {
  'audio:newProducer': producerEvent.extend({ kind: z.literal('audio') }).describe('Sent to the other members when a user starts sending audio'),
  'audio:producerClosed': producerEvent.extend({ reason: z.literal('bitrate').optional().describe('The producer sent more than 1.5 times its allowed bit rate for 3 s') })
    .describe('Sent to the other members when a producer is closed. If `reason` is present, the sender of the audio also receives the event'),
  'audio:producerPaused': producerEvent.describe('Sent to the other members when a producer is paused'),
  'audio:producerResumed': producerEvent.describe('Sent to the other members when a producer is resumed'),
  'consumer:closed': z.object({ roomId, consumerId: mediaId }).describe('Sent to a member when one of their consumers is closed'),
  'speaker:active': z.object({
    roomId,
    userId: userId.nullable().describe('The loudest speaker'),
    activeSpeakers: z.array(userId),
    levels: z.array(z.number().min(0).max(1)).describe('The loudness of each active speaker, 0 to 1, in the order of activeSpeakers'),
    timestamp: z.int()
  }).describe('Sent to all members when the active speakers change'),
  'media:reset': z.object({ roomId, reason: z.string() }).describe('Sent to members who lost transports because a media worker died. Clients must recreate their transports, producers and consumers. After this event, the server announces the remaining producers again')
} satisfies EventMap

/** Fields that the `media` feature adds to the session:ready event. */
export const greeting = z.object({
  iceServers: z.array(z.object({
    urls: z.union([z.string(), z.array(z.string())]),
    username: z.string().optional(),
    credential: z.string().optional()
  })).describe('ICE servers for the RTCPeerConnection')
})

/** Fields that the `media` feature adds to the reply to room:join. */
export const joinReply = z.object({
  rtpCapabilities: opaque,
  existingProducers: z.array(z.object({ producerId: mediaId, userId, source, isPaused: z.boolean() })),
  maxBitrates: z.object({ voice: z.int(), music: z.int() }).describe('Allowed bit rate of a producer, in bit/s'),
  activeSpeakers: z.array(userId).describe('The active speakers. speaker:active reports changes'),
  iceServers: greeting.shape.iceServers.describe('The same ICE servers as in session:ready, but with new credentials. Clients need this field if they connected before the media feature was enabled')
})
