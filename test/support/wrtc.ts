import wrtc from '@roamhq/wrtc'
import type { Test } from 'tap'

// WebRTC in Node, for clients without a browser.

const { MediaStream, MediaStreamTrack, RTCPeerConnection } = wrtc
const { RTCAudioSource } = wrtc.nonstandard
Object.assign(globalThis, { MediaStream, MediaStreamTrack, RTCPeerConnection })
// A process that uses the WebRTC package crashes if it ends without calling exit().
process.once('beforeExit', () => process.exit())

/**
 * @param hz a multiple of 100, so that each packet contains whole periods
 * @returns a track with a tone, which is stopped after the test
 */
export function createTone (t: Test, hz = 500): MediaStreamTrack {
  const source = new RTCAudioSource()
  const samples = Int16Array.from({ length: 480 }, (_, i) => 8000 * Math.sin(2 * Math.PI * hz * i / 48_000))
  const timer = setInterval(() => source.onData({ samples, sampleRate: 48_000 }), 10)
  const track = source.createTrack()
  t.teardown(() => {
    clearInterval(timer)
    track.stop()
  })
  return track
}
