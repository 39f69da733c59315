import { roomId, userId, z } from 'flylive-audio-server/feature'
import type { EventMap, RequestMap } from 'flylive-audio-server/feature'

// The shapes of WebRTC parameters, as narrow as audio over mediasoup allows:
// what passes here can't confuse a media worker.

const mediaId = z.string().min(1).max(64)
const shortText = z.string().max(256)
const uint32 = z.int().min(0).max(0xffffffff)

/** Octets of a certificate's digest, by hash function (RFC 8122, section 5). */
const digestOctets = { 'sha-1': 20, 'sha-224': 28, 'sha-256': 32, 'sha-384': 48, 'sha-512': 64 }

const fingerprint = z.object({
  algorithm: z.enum(['sha-1', 'sha-224', 'sha-256', 'sha-384', 'sha-512']),
  value: z.string().max(200)
}).refine(({ algorithm, value }) => new RegExp(`^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){${digestOctets[algorithm] - 1}}$`).test(value), {
  path: ['value'],
  message: 'must be colon-separated hex of the length of its algorithm'
})

export const dtlsParameters = z.object({
  role: z.enum(['auto', 'client', 'server']).optional(),
  fingerprints: z.array(fingerprint).min(1).max(10)
})

/** Codec parameters, as in an fmtp line: numbers, texts, switches. */
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
  // RFC 8843 keeps mids short; one octet of length in the header extension.
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
    .refine(unique('id'), 'has an id twice')
    .refine(unique('uri'), 'has a uri twice')
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

/** A receiver's capabilities. Codecs and extensions the server does not use may be among them. */
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

/** Parameters that the server makes and clients hand to their WebRTC stack unread. */
const opaque = z.looseObject({})

const nothing = z.object({})

export const requests = {
  'transport:create': {
    request: z.object({ type: z.enum(['producer', 'consumer']) }).describe('Makes a transport: one to send audio with, one to receive. A second one of the same type replaces the first'),
    reply: z.object({
      id: mediaId,
      iceParameters: opaque,
      iceCandidates: z.array(opaque),
      dtlsParameters: opaque
    })
  },
  'transport:connect': {
    request: z.object({ transportId: mediaId, dtlsParameters }).describe('Gives a transport the DTLS parameters of the client'),
    reply: nothing
  },
  'transport:restartIce': {
    request: z.object({ transportId: mediaId }).describe('Makes new ICE credentials, after the network of the client has changed'),
    reply: z.object({ iceParameters: opaque })
  },
  'audio:produce': {
    request: z.object({ transportId: mediaId, kind: z.literal('audio'), rtpParameters }).describe('Sends audio to the room. While the feature seats is on, this needs a seat'),
    reply: z.object({ id: mediaId })
  },
  'audio:closeProducer': {
    request: z.object({ producerId: mediaId }).describe('Stops sending'),
    reply: nothing
  },
  'audio:selfMute': {
    request: z.object({ producerId: mediaId }).describe('Is silent by choice'),
    reply: nothing
  },
  'audio:selfUnmute': {
    request: z.object({ producerId: mediaId }).describe('Is not silent by choice any more. Who is muted on a seat stays silent'),
    reply: nothing
  },
  'audio:consume': {
    request: z.object({ transportId: mediaId, producerId: mediaId, rtpCapabilities }).describe('Receives the audio of a producer. It starts paused'),
    reply: z.object({ id: mediaId, producerId: mediaId, kind: z.literal('audio'), rtpParameters: opaque })
  },
  'consumer:resume': {
    request: z.object({ consumerId: mediaId }).describe('Lets the audio come'),
    reply: z.object({ deferred: z.literal(true).optional().describe('The source is silent now; it will be heard when it is not') })
  },
  'consumer:pause': {
    request: z.object({ consumerId: mediaId }).describe('Holds the audio back'),
    reply: nothing
  }
} satisfies RequestMap

const producerEvent = z.object({ roomId, producerId: mediaId, userId })

export const events = {
  'audio:newProducer': producerEvent.extend({ kind: z.literal('audio') }).describe('To the others: somebody sends audio'),
  'audio:producerClosed': producerEvent.describe('To the others: it is over'),
  'audio:producerPaused': producerEvent.describe('To the others: nothing comes for now'),
  'audio:producerResumed': producerEvent.describe('To the others: it comes again'),
  'consumer:closed': z.object({ roomId, consumerId: mediaId }).describe('To its owner: what it received is over'),
  'speaker:active': z.object({
    roomId,
    userId: userId.nullable().describe('The loudest'),
    activeSpeakers: z.array(userId),
    timestamp: z.int()
  }).describe('To everyone: who speaks, whenever that changes'),
  'media:reset': z.object({ roomId, reason: z.string() }).describe('To everyone: the media worker of the room died. Make transports, producers and consumers again')
} satisfies EventMap

/** What the feature adds to the greeting, session:ready. */
export const greeting = z.object({
  iceServers: z.array(z.object({
    urls: z.union([z.string(), z.array(z.string())]),
    username: z.string().optional(),
    credential: z.string().optional()
  })).describe('For the RTCPeerConnection')
})

/** What the feature adds to the reply of room:join. */
export const joinReply = z.object({
  rtpCapabilities: opaque,
  existingProducers: z.array(z.object({ producerId: mediaId, userId, isPaused: z.boolean() })),
  activeSpeakers: z.array(userId).describe('Who speaks now; changes come as speaker:active'),
  iceServers: greeting.shape.iceServers.describe('As in the greeting, for who was there before the feature was turned on; their credentials are new')
})
