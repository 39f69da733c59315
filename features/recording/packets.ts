import type { Frame } from 'flylive-audio-server/fmp4'

/**
 * @returns the frame size in samples at 48 kHz, which the first byte of an Opus packet determines (RFC 6716, section
 *   3.1)
 */
function frameSamples (toc: number): number {
  const config = toc >> 3
  if (config < 12) return [480, 960, 1920, 2880][config & 3] as number
  if (config < 16) return [480, 960][config & 1] as number
  return [120, 240, 480, 960][config & 3] as number
}

/** Maximum duration of a packet, in samples. */
const maxSamples = 5760

/** @returns the duration of an Opus packet in samples at 48 kHz; 0 if the packet is not valid */
export function samplesOf (payload: Uint8Array): number {
  const [toc, countByte] = payload
  if (toc === undefined) return 0
  const code = toc & 3
  const frames = code === 0 ? 1 : code === 3 ? (countByte ?? 0) & 0x3f : 2
  const samples = frames * frameSamples(toc)
  return samples > maxSamples ? 0 : samples
}

/** Opus packets with silence: one for each frame duration of the CELT codec, longest first. */
const silences = [[0xf8, 960], [0xf0, 480], [0xe8, 240], [0xe0, 120]].map(([toc, duration]) => ({ data: Uint8Array.of(toc as number, 0xff, 0xfe), duration: duration as number }))

/** Duration of the shortest packet (2.5 ms), in samples. */
export const minSamples = 120

/**
 * @param samples at least {@link minSamples}
 * @returns the longest packet with silence whose duration is at most `samples`
 */
export function silenceFor (samples: number): Frame {
  return silences.find(({ duration }) => duration <= samples) as Frame
}
