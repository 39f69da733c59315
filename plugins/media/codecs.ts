import * as ortc from 'mediasoup/ortc'
import type { types } from 'mediasoup'

/**
 * The one codec: Opus, stereo as WebRTC writes it, with forward error
 * correction, without discontinuous transmission, in packets from 10 ms.
 */
export const mediaCodecs: types.RouterRtpCodecCapability[] = [{
  kind: 'audio',
  mimeType: 'audio/opus',
  clockRate: 48_000,
  channels: 2,
  parameters: { useinbandfec: 1, usedtx: 0, minptime: 10 }
}]

/** What every router here can do; known without making one. */
export const rtpCapabilities: types.RtpCapabilities = ortc.generateRouterRtpCapabilities(mediaCodecs)

/** The RTP header extension with the level of a packet's audio (RFC 6464). */
export const audioLevelUri = 'urn:ietf:params:rtp-hdrext:ssrc-audio-level'

/** Bits a second that a client may send, all its audio together. */
export const maxIncomingBitrate = 128_000
/** Bits a second assumed towards a client before its connection is known. */
export const initialOutgoingBitrate = 600_000
