// Provides WebRTC to the talkers. Node has no WebRTC, so the classes of @roamhq/wrtc become
// globals, where mediasoup-client expects them.
import wrtc from '@roamhq/wrtc'

const { MediaStream, MediaStreamTrack, RTCPeerConnection, RTCRtpReceiver, RTCRtpSender, RTCRtpTransceiver, RTCSessionDescription } = wrtc

Object.assign(globalThis, { MediaStream, MediaStreamTrack, RTCPeerConnection, RTCRtpReceiver, RTCRtpSender, RTCRtpTransceiver, RTCSessionDescription })

export const { RTCAudioSource } = wrtc.nonstandard
/** The mediasoup-client handler to use. */
export const handlerName = 'Chrome111'
