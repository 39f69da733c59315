import * as ortc from 'mediasoup/ortc'
import type { types } from 'mediasoup'

/**
 * The Opus payload type of consumers. Chromium offers Opus with the same payload type, so most WHEP players need no
 * additional router.
 */
export const opusPayloadType = 111

/**
 * The only supported codec: Opus with forward error correction, no discontinuous transmission and packets of at least
 * 10 ms. WebRTC always declares Opus as stereo.
 */
export const codecsWith = (preferredPayloadType: number): types.RouterRtpCodecCapability[] => [{
  kind: 'audio',
  mimeType: 'audio/opus',
  preferredPayloadType,
  clockRate: 48_000,
  channels: 2,
  parameters: { useinbandfec: 1, usedtx: 0, minptime: 10 }
}]

/** The codec of the rooms' routers. */
export const mediaCodecs = codecsWith(opusPayloadType)

/** The RTP capabilities of the rooms' routers, computed without creating a router. */
export const rtpCapabilities: types.RtpCapabilities = ortc.generateRouterRtpCapabilities(mediaCodecs)

/** The RTP header extension that contains the audio level of a packet (RFC 6464). */
export const audioLevelUri = 'urn:ietf:params:rtp-hdrext:ssrc-audio-level'

/** Assumed bandwidth of the connection to a client, in bits per second, until mediasoup has measured it. */
export const initialOutgoingBitrate = 600_000
