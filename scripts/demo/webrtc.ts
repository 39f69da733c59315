// Provides WebRTC to the talkers. Node has no WebRTC, so this file makes the classes of @roamhq/wrtc global, as
// mediasoup-client expects.
import wrtc from '@roamhq/wrtc'

const { MediaStream, MediaStreamTrack, RTCPeerConnection, RTCRtpReceiver, RTCRtpSender, RTCRtpTransceiver, RTCSessionDescription } = wrtc

Object.assign(globalThis, { MediaStream, MediaStreamTrack, RTCPeerConnection, RTCRtpReceiver, RTCRtpSender, RTCRtpTransceiver, RTCSessionDescription })

export const { RTCAudioSource } = wrtc.nonstandard
/** The mediasoup-client handler to use. */
export const handlerName = 'Chrome111'
