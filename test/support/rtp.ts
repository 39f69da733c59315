// A browser's RTP parameters and capabilities, for signalling tests that send no audio.

let nextSsrc = 1000

/** Returns the RTP parameters of a microphone track, with a new SSRC and MID per call. */
export function rtpParameters () {
  const ssrc = nextSsrc++
  return {
    mid: String(ssrc),
    codecs: [{
      mimeType: 'audio/opus',
      payloadType: 111,
      clockRate: 48_000,
      channels: 2,
      parameters: { minptime: 10, useinbandfec: 1 },
      rtcpFeedback: [{ type: 'transport-cc', parameter: '' }]
    }],
    headerExtensions: [
      { uri: 'urn:ietf:params:rtp-hdrext:sdes:mid', id: 4 },
      { uri: 'urn:ietf:params:rtp-hdrext:ssrc-audio-level', id: 1 }
    ],
    encodings: [{ ssrc, dtx: false }],
    rtcp: { cname: `cname-${ssrc}`, reducedSize: true }
  }
}

/** RTP capabilities of a browser. */
export const rtpCapabilities = {
  codecs: [{
    kind: 'audio',
    mimeType: 'audio/opus',
    preferredPayloadType: 100,
    clockRate: 48_000,
    channels: 2,
    parameters: { minptime: 10, useinbandfec: 1 },
    rtcpFeedback: []
  }],
  headerExtensions: []
}

export const dtlsParameters = {
  role: 'client',
  fingerprints: [{ algorithm: 'sha-256', value: Array.from({ length: 32 }, (_, i) => i.toString(16).padStart(2, '0')).join(':') }]
}
