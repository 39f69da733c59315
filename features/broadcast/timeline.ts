import { sampleRate } from 'flylive-audio-server/fmp4'

// Times are Unix times, counted in samples at 48 kHz. The time of a sample alone determines its segment and part.
// Another server can therefore take over a broadcast without any state of the previous server, and its segments have
// higher numbers.

/** Samples per AAC frame. */
export const aacFrameSamples = 1024
/** Samples per Opus packet (20 ms). */
export const opusFrameSamples = 960
/** Samples per part: 12 AAC frames (256 ms). */
export const partSamples = 12 * aacFrameSamples
export const partsPerSegment = 8
/** Samples per segment: 96 AAC frames (2.048 s). */
export const segmentSamples = partsPerSegment * partSamples
/** The duration of a segment, rounded to whole seconds for EXT-X-TARGETDURATION. */
export const targetDuration = Math.round(segmentSamples / sampleRate)

/** The position of a part: its segment number and its index in the segment. */
export interface PartPosition {
  segment: number
  part: number
}

/** @returns the position of the part that contains the sample at `time` */
export function positionAt (time: number): PartPosition {
  const segment = Math.floor(time / segmentSamples)
  return { segment, part: Math.floor((time - segment * segmentSamples) / partSamples) }
}

export const isSamePart = (one: PartPosition, other: PartPosition): boolean => one.segment === other.segment && one.part === other.part
/** @returns a negative number if `one` is earlier than `other` */
export const comparePositions = (one: PartPosition, other: PartPosition): number => one.segment - other.segment || one.part - other.part

/** @returns the start of the first part that does not start before `time` */
export const nextPartStart = (time: number): number => Math.ceil(time / partSamples) * partSamples
