import type { Test } from 'tap'

interface Sink {
  stop (): void
  ondata: (data: { samples: Int16Array, sampleRate: number, channelCount?: number }) => void
}

/** Samples below this are silence. */
const threshold = 500

/**
 * Measures the tone of a track from a WebRTC package until the test ends.
 *
 * @returns a function that returns the frequency in hertz, measured from the zero crossings of the last second; 0
 *   without a tone
 */
export function frequencyOf (t: Test, RTCAudioSink: new (track: MediaStreamTrack) => unknown, track: MediaStreamTrack): () => number {
  const sink = new RTCAudioSink(track) as Sink
  t.teardown(() => sink.stop())
  const crossings: number[] = []
  let samples = 0
  let last = 0
  let rate = 48_000
  sink.ondata = (data) => {
    rate = data.sampleRate
    const channels = data.channelCount ?? 1
    for (let i = 0; i < data.samples.length; i += channels) {
      const sample = data.samples[i] as number
      samples++
      if (last <= 0 && sample > threshold) crossings.push(samples)
      if (Math.abs(sample) > threshold) last = sample
    }
    while (crossings.length > 0 && (crossings[0] as number) < samples - rate) crossings.shift()
  }
  return () => crossings.length < 3 ? 0 : (crossings.length - 1) * rate / ((crossings.at(-1) as number) - (crossings[0] as number))
}
