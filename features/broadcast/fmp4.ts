// Fragmented MP4 (ISO/IEC 14496-12) with one audio track. All times count samples at 48 kHz.

export const sampleRate = 48_000

/** How the track is encoded. */
export type TrackFormat =
  /** AAC-LC, mono. `description` is the AudioSpecificConfig of the encoder. */
  { codec: 'aac', description: Uint8Array } |
  { codec: 'opus' }

/** An encoded frame. */
export interface Frame {
  data: Uint8Array
  /** In samples. */
  duration: number
}

/** The playlist attribute CODECS for each codec. */
export const codecNames = { aac: 'mp4a.40.2', opus: 'opus' } as const

type Field = Uint8Array | string | readonly number[]

const u16 = (value: number) => [value >>> 8 & 0xff, value & 0xff]
const u32 = (value: number) => [value >>> 24 & 0xff, value >>> 16 & 0xff, value >>> 8 & 0xff, value & 0xff]
const u64 = (value: number) => [...u32(Math.floor(value / 2 ** 32)), ...u32(value % 2 ** 32)]
const zeros = (count: number): number[] => Array.from({ length: count }, () => 0)
const matrix = [0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000].flatMap(u32)

function box (type: string, ...fields: Field[]): Uint8Array {
  const parts = fields.map((field) => typeof field === 'string' ? Buffer.from(field, 'latin1') : Uint8Array.from(field))
  const size = parts.reduce((sum, part) => sum + part.length, 8)
  return Buffer.concat([Uint8Array.from(u32(size)), Buffer.from(type, 'latin1'), ...parts], size)
}

const fullBox = (type: string, version: number, flags: number, ...fields: Field[]) => box(type, [version, ...u32(flags).slice(1)], ...fields)

/** A descriptor of MPEG-4 systems (ISO/IEC 14496-1). */
const descriptor = (tag: number, ...fields: Field[]): Uint8Array => {
  const body = box('....', ...fields).subarray(8)
  return Uint8Array.from([tag, 0x80, 0x80, 0x80, body.length, ...body])
}

function sampleEntry (format: TrackFormat): Uint8Array {
  const channels = format.codec === 'aac' ? 1 : 2
  const entry: Field[] = [zeros(6), u16(1), zeros(8), u16(channels), u16(16), zeros(4), u32(sampleRate * 65_536)]
  if (format.codec === 'opus') {
    const preSkip = 312
    return box('Opus', ...entry, box('dOps', [0, channels], u16(preSkip), u32(sampleRate), u16(0), [0]))
  }
  const decoderConfig = descriptor(4, [0x40, 0x15], zeros(3), u32(48_000), u32(48_000), descriptor(5, format.description))
  return box('mp4a', ...entry, fullBox('esds', 0, 0, descriptor(3, u16(1), [0], decoderConfig, descriptor(6, [2]))))
}

/** @returns the initialization section: the boxes before the first fragment */
export function initSection (format: TrackFormat): Uint8Array {
  const table = (type: string) => fullBox(type, 0, 0, u32(0))
  const stbl = box('stbl', fullBox('stsd', 0, 0, u32(1), sampleEntry(format)), table('stts'), table('stsc'), fullBox('stsz', 0, 0, u32(0), u32(0)), table('stco'))
  const minf = box('minf', fullBox('smhd', 0, 0, zeros(4)), box('dinf', fullBox('dref', 0, 0, u32(1), fullBox('url ', 0, 1))), stbl)
  const mdia = box('mdia',
    fullBox('mdhd', 0, 0, zeros(8), u32(sampleRate), u32(0), u16(0x55c4), u16(0)),
    fullBox('hdlr', 0, 0, u32(0), 'soun', zeros(12), 'mix\0'),
    minf)
  const trak = box('trak', fullBox('tkhd', 0, 3, zeros(8), u32(1), zeros(20), u16(0x0100), zeros(2), matrix, zeros(8)), mdia)
  const mvhd = fullBox('mvhd', 0, 0, zeros(8), u32(sampleRate), u32(0), u32(0x10000), u16(0x0100), zeros(10), matrix, zeros(24), u32(2))
  const mvex = box('mvex', fullBox('trex', 0, 0, u32(1), u32(1), u32(0), u32(0), u32(0)))
  return Buffer.concat([box('ftyp', 'iso6', u32(0), 'iso6cmfcmp41'), box('moov', mvhd, trak, mvex)])
}

/**
 * @param sequenceNumber number of the fragment
 * @param start decode time of the first frame, in samples
 * @returns a movie fragment: `moof` and `mdat`
 */
export function fragment (sequenceNumber: number, start: number, frames: readonly Frame[]): Uint8Array {
  const data = frames.map((frame) => frame.data)
  const entries = frames.flatMap((frame) => [...u32(frame.duration), ...u32(frame.data.length)])
  const build = (dataOffset: number) => box('moof',
    fullBox('mfhd', 0, 0, u32(sequenceNumber % 2 ** 32)),
    box('traf',
      // default-base-is-moof, default-sample-flags-present: every frame is a sync sample.
      fullBox('tfhd', 0, 0x02_00_20, u32(1), u32(0x0200_0000)),
      fullBox('tfdt', 1, 0, u64(start)),
      fullBox('trun', 0, 0x00_03_01, u32(frames.length), u32(dataOffset), entries)))
  const size = build(0).length
  // Copy the data: a small buffer shares its memory block with others, and blocks are transferred between threads as a
  // whole.
  return new Uint8Array(Buffer.concat([build(size + 8), box('mdat', Buffer.concat(data))]))
}
