// Fragmented MP4 (ISO/IEC 14496-12) with one audio track. All times are in samples at 48 kHz. This file imports
// nothing, because the `broadcast` and `recording` features also import it in their worker threads, as
// `flylive-audio-server/fmp4`.
//
// The server does not use a library for this: until the file is complete, mediabunny 1.61 keeps the size and time of
// every packet in memory, which takes about 20 MB per hour per track.

export const sampleRate = 48_000

/** How the track is encoded. */
export type TrackFormat =
  /** AAC-LC, mono. `description` is the AudioSpecificConfig of the encoder. */
  { codec: 'aac', description: Uint8Array } |
  { codec: 'opus' }

/**
 * What the fragments are for. `segments`: each fragment is served separately, as CMAF (ISO/IEC 23000-19) requires.
 * `file`: all fragments are in one file, and the duration is written once the file is complete.
 */
export type Purpose = 'segments' | 'file'

/** An encoded frame. */
export interface Frame {
  data: Uint8Array
  /** In samples. */
  duration: number
}

/** Each codec's name in the CODECS attribute of an HLS playlist. */
export const codecNames = { aac: 'mp4a.40.2', opus: 'opus' } as const

type Field = Uint8Array | string | readonly number[]

const u16 = (value: number) => [value >>> 8 & 0xff, value & 0xff]
const u32 = (value: number) => [value >>> 24 & 0xff, value >>> 16 & 0xff, value >>> 8 & 0xff, value & 0xff]
const u64 = (value: number) => [...u32(Math.floor(value / 2 ** 32)), ...u32(value % 2 ** 32)]
const zeros = (count: number) => new Uint8Array(count)
const matrix = [0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000].flatMap(u32)

function box (type: string, ...fields: Field[]): Uint8Array {
  const parts = fields.map((field) => typeof field === 'string' ? Buffer.from(field, 'latin1') : Uint8Array.from(field))
  const size = parts.reduce((sum, part) => sum + part.length, 8)
  return Buffer.concat([Uint8Array.from(u32(size)), Buffer.from(type, 'latin1'), ...parts], size)
}

const fullBox = (type: string, version: number, flags: number, ...fields: Field[]) => box(type, [version, ...u32(flags).slice(1)], ...fields)

/** An MPEG-4 Systems descriptor (ISO/IEC 14496-1). */
const descriptor = (tag: number, ...fields: Field[]): Uint8Array => {
  const body = box('....', ...fields).subarray(8)
  return Uint8Array.from([tag, 0x80, 0x80, 0x80, body.length, ...body])
}

/** Number of samples that a decoder discards at the start of an Opus stream, because encoders delay the audio. */
const preSkip = 312

function sampleEntry (format: TrackFormat): Uint8Array {
  const channels = format.codec === 'aac' ? 1 : 2
  const entry: Field[] = [zeros(6), u16(1), zeros(8), u16(channels), u16(16), zeros(4), u32(sampleRate * 65_536)]
  if (format.codec === 'opus') return box('Opus', ...entry, box('dOps', [0, channels], u16(preSkip), u32(sampleRate), u16(0), [0]))
  const decoderConfig = descriptor(4, [0x40, 0x15], zeros(3), u32(48_000), u32(48_000), descriptor(5, format.description))
  return box('mp4a', ...entry, fullBox('esds', 0, 0, descriptor(3, u16(1), [0], decoderConfig, descriptor(6, [2]))))
}

/** @returns the initialization section: the boxes before the first fragment */
export function initSection (format: TrackFormat, purpose: Purpose): Buffer {
  const isFile = purpose === 'file'
  const table = (type: string) => fullBox(type, 0, 0, u32(0))
  const stbl = box('stbl', fullBox('stsd', 0, 0, u32(1), sampleEntry(format)), table('stts'), table('stsc'), fullBox('stsz', 0, 0, u32(0), u32(0)), table('stco'))
  const minf = box('minf', fullBox('smhd', 0, 0, zeros(4)), box('dinf', fullBox('dref', 0, 0, u32(1), fullBox('url ', 0, 1))), stbl)
  const mdia = box('mdia',
    fullBox('mdhd', 0, 0, zeros(8), u32(sampleRate), u32(0), u16(0x55c4), u16(0)),
    fullBox('hdlr', 0, 0, u32(0), 'soun', zeros(12), isFile ? 'room\0' : 'mix\0'),
    minf)
  const trak = box('trak', fullBox('tkhd', 0, 3, zeros(8), u32(1), zeros(20), u16(0x0100), zeros(2), matrix, zeros(8)), mdia)
  const mvhd = fullBox('mvhd', 0, 0, zeros(8), u32(sampleRate), u32(0), u32(0x10000), u16(0x0100), zeros(10), matrix, zeros(24), u32(2))
  const mvex = box('mvex', ...(isFile ? [fullBox('mehd', 1, 0, u64(0))] : []), fullBox('trex', 0, 0, u32(1), u32(1), u32(0), u32(0), u32(0)))
  return Buffer.concat([box('ftyp', 'iso6', u32(0), isFile ? 'iso6mp41' : 'iso6cmfcmp41'), box('moov', mvhd, trak, mvex)])
}

/** @returns the byte offset of the duration in the `mehd` box. The duration is 0 until the file is complete */
export const durationOffset = (init: Buffer): number => init.indexOf('mehd') + 8

/** @param samples duration of the file */
export const durationField = (samples: number): Buffer => Buffer.from(u64(samples))

/**
 * @param start decode time of the first frame, in samples
 * @returns a movie fragment: `moof` and `mdat`. The buffer does not share its memory with other buffers, so it can be
 *   transferred to another thread
 */
export function fragment (sequenceNumber: number, start: number, frames: readonly Frame[], purpose: Purpose): Buffer<ArrayBuffer> {
  const hasFlags = purpose === 'segments'
  const tfhdSize = hasFlags ? 20 : 16
  const trunSize = 20 + frames.length * 8
  const trafSize = 8 + tfhdSize + 20 + trunSize
  const moofSize = 8 + 16 + trafSize
  const dataSize = frames.reduce((sum, { data }) => sum + data.length, 0)
  const buffer = Buffer.allocUnsafeSlow(moofSize + 8 + dataSize)
  let at = 0
  const put32 = (...values: number[]) => { for (const value of values) at = buffer.writeUInt32BE(value >>> 0, at) }
  const open = (size: number, type: string) => {
    put32(size)
    at += buffer.write(type, at, 'latin1')
  }
  open(moofSize, 'moof')
  open(16, 'mfhd')
  put32(0, sequenceNumber % 2 ** 32)
  open(trafSize, 'traf')
  open(tfhdSize, 'tfhd')
  // Flags: default-base-is-moof and, for segments, default-sample-flags, so that decoding can begin at any frame.
  put32(hasFlags ? 0x02_00_20 : 0x02_00_00, 1)
  if (hasFlags) put32(0x0200_0000)
  open(20, 'tfdt')
  put32(0x01_00_00_00)
  at = buffer.writeBigUInt64BE(BigInt(start), at)
  open(trunSize, 'trun')
  // Flags: data-offset, sample-duration and sample-size are present.
  put32(0x00_03_01, frames.length, moofSize + 8)
  for (const { data, duration } of frames) put32(duration, data.length)
  open(8 + dataSize, 'mdat')
  for (const { data } of frames) {
    buffer.set(data, at)
    at += data.length
  }
  return buffer
}
