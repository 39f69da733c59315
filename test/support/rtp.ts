// WebRTC parameters as a browser's would be, for tests without real media.

/** @param ssrc different for each producer of a transport */
export function opusParameters (ssrc = 11_111_111, mid = '0') {
  return {
    mid,
    codecs: [{
      mimeType: 'audio/opus',
      payloadType: 111,
      clockRate: 48_000,
      channels: 2,
      parameters: { minptime: 10, useinbandfec: 1 },
      rtcpFeedback: [{ type: 'transport-cc' }]
    }],
    headerExtensions: [
      { uri: 'urn:ietf:params:rtp-hdrext:sdes:mid', id: 4, encrypt: false, parameters: {} },
      { uri: 'urn:ietf:params:rtp-hdrext:ssrc-audio-level', id: 1, encrypt: false, parameters: {} }
    ],
    encodings: [{ ssrc, dtx: false }],
    rtcp: { cname: 'a-client', reducedSize: true }
  }
}

export function dtlsParameters (role: 'auto' | 'client' | 'server' = 'client') {
  return { role, fingerprints: [{ algorithm: 'sha-256', value: Array.from({ length: 32 }, (_, i) => (i * 7 + 16).toString(16).toUpperCase()).join(':') }] }
}

/** What a receiver of Opus can do. */
export function opusCapabilities () {
  return {
    codecs: [{
      kind: 'audio',
      mimeType: 'audio/opus',
      preferredPayloadType: 100,
      clockRate: 48_000,
      channels: 2,
      parameters: {},
      rtcpFeedback: []
    }],
    headerExtensions: [{ kind: 'audio', uri: 'urn:ietf:params:rtp-hdrext:sdes:mid', preferredId: 1, preferredEncrypt: false, direction: 'sendrecv' }]
  }
}
