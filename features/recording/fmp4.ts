// Fragmented MP4 (ISO/IEC 14496-12) with one Opus track (the encapsulation of Opus in ISO base media files). All times
// count samples at 48 kHz. A library is not used, because mediabunny 1.61 keeps the sizes and times of all packets in
// memory until the file ends: about 20 MB per hour and track.

export const sampleRate = 48_000

/** A packet and its duration in samples. */
export interface Frame {
  payload: Uint8Array
  duration: number
}

type Field = Uint8Array | string | readonly number[]

const u16 = (value: number) => [value >>> 8 & 0xff, value & 0xff]
const u32 = (value: number) => [value >>> 24 & 0xff, value >>> 16 & 0xff, value >>> 8 & 0xff, value & 0xff]
const u64 = (value: number) => [...u32(Math.floor(value / 2 ** 32)), ...u32(value % 2 ** 32)]
const zeros = (count: number) => new Uint8Array(count)
const matrix = [0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000].flatMap(u32)

const bytesOf = (field: Field) => typeof field === 'string' ? Buffer.from(field, 'latin1') : field

function box (type: string, ...fields: Field[]): Uint8Array {
  const parts = fields.map((field) => Uint8Array.from(bytesOf(field)))
  const size = parts.reduce((sum, part) => sum + part.length, 8)
  return Buffer.concat([Uint8Array.from(u32(size)), Buffer.from(type, 'latin1'), ...parts], size)
}

const fullBox = (type: string, version: number, flags: number, ...fields: Field[]) => box(type, [version, ...u32(flags).slice(1)], ...fields)

/** Samples at the start of a stream that a decoder discards: the delay of the encoders. */
const preSkip = 312
const channels = 2

function createInitSection (): Buffer {
  const table = (type: string) => fullBox(type, 0, 0, u32(0))
  const entry = box('Opus', zeros(6), u16(1), zeros(8), u16(channels), u16(16), zeros(4), u32(sampleRate * 65_536),
    box('dOps', [0, channels], u16(preSkip), u32(sampleRate), u16(0), [0]))
  const stbl = box('stbl', fullBox('stsd', 0, 0, u32(1), entry), table('stts'), table('stsc'), fullBox('stsz', 0, 0, u32(0), u32(0)), table('stco'))
  const minf = box('minf', fullBox('smhd', 0, 0, zeros(4)), box('dinf', fullBox('dref', 0, 0, u32(1), fullBox('url ', 0, 1))), stbl)
  const mdia = box('mdia',
    fullBox('mdhd', 0, 0, zeros(8), u32(sampleRate), u32(0), u16(0x55c4), u16(0)),
    fullBox('hdlr', 0, 0, u32(0), 'soun', zeros(12), 'room\0'),
    minf)
  const trak = box('trak', fullBox('tkhd', 0, 3, zeros(8), u32(1), zeros(20), u16(0x0100), zeros(2), matrix, zeros(8)), mdia)
  const mvhd = fullBox('mvhd', 0, 0, zeros(8), u32(sampleRate), u32(0), u32(0x10000), u16(0x0100), zeros(10), matrix, zeros(24), u32(2))
  const mvex = box('mvex', fullBox('mehd', 1, 0, u64(0)), fullBox('trex', 0, 0, u32(1), u32(1), u32(0), u32(0), u32(0)))
  return Buffer.concat([box('ftyp', 'iso6', u32(0), 'iso6mp41'), box('moov', mvhd, trak, mvex)])
}

/** The boxes before the first fragment. They are identical in all files, except for the duration. */
export const initSection: Buffer = createInitSection()

/** Offset of the duration (`mehd`) in a file, in bytes. The duration is 0 until the file is complete. */
export const durationOffset: number = initSection.indexOf('mehd') + 8

/** @param samples duration of the file */
export function durationField (samples: number): Buffer {
  return Buffer.from(u64(samples))
}

const moofBytes = 8 + 16 + 8 + 16 + 20 + 20

/**
 * @param sequenceNumber number of the fragment, from 1
 * @param start decode time of the first packet
 * @returns a movie fragment (`moof` and `mdat`)
 */
export function fragment (sequenceNumber: number, start: number, frames: readonly Frame[]): Buffer {
  const moofSize = moofBytes + frames.length * 8
  const dataBytes = frames.reduce((sum, { payload }) => sum + payload.length, 0)
  const buffer = Buffer.allocUnsafe(moofSize + 8 + dataBytes)
  let at = 0
  const put32 = (...values: number[]) => { for (const value of values) at = buffer.writeUInt32BE(value >>> 0, at) }
  const open = (size: number, type: string) => {
    put32(size)
    at += buffer.write(type, at, 'latin1')
  }
  open(moofSize, 'moof')
  open(16, 'mfhd')
  put32(0, sequenceNumber)
  open(moofSize - 24, 'traf')
  // default-base-is-moof and default-sample-flags: decoding can begin with every packet.
  open(16, 'tfhd')
  put32(0x02_00_00, 1)
  open(20, 'tfdt')
  put32(0x01_00_00_00)
  at = buffer.writeBigUInt64BE(BigInt(start), at)
  open(20 + frames.length * 8, 'trun')
  // data-offset, sample-duration and sample-size are present.
  put32(0x00_03_01, frames.length, moofSize + 8)
  for (const { payload, duration } of frames) put32(duration, payload.length)
  open(8 + dataBytes, 'mdat')
  for (const { payload } of frames) {
    buffer.set(payload, at)
    at += payload.length
  }
  return buffer
}
