// WebRTC for the talkers: Node has none, so that of @roamhq/wrtc takes the
// place in which mediasoup-client looks for a browser's.
import wrtc from '@roamhq/wrtc'

const { MediaStream, MediaStreamTrack, RTCPeerConnection, RTCRtpReceiver, RTCRtpSender, RTCRtpTransceiver, RTCSessionDescription } = wrtc

Object.assign(globalThis, { MediaStream, MediaStreamTrack, RTCPeerConnection, RTCRtpReceiver, RTCRtpSender, RTCRtpTransceiver, RTCSessionDescription })

export const { RTCAudioSource } = wrtc.nonstandard
/** As whose mediasoup-client is to take it. */
export const handlerName = 'Chrome111'
