// Computes the duration of Opus packets (RFC 6716) and creates Ogg Opus files (RFC 7845).

/** Samples per second. Opus counts durations at this rate, regardless of the audio bandwidth. */
export const sampleRate = 48_000

/** Frame sizes by configuration number, in samples: SILK, hybrid, CELT (RFC 6716, section 3.1). */
const silk = [480, 960, 1920, 2880]
const frameSizes = [...silk, ...silk, ...silk, 480, 960, 480, 960, ...Array.from({ length: 4 }, () => [120, 240, 480, 960]).flat()]

/** @returns the duration of a packet in samples; 960 if the packet is not valid */
export function samplesOf (packet: Uint8Array): number {
  const [toc, second = 0] = packet
  if (toc === undefined) return 960
  const code = toc & 3
  const frames = code === 0 ? 1 : code < 3 ? 2 : second & 63
  return (frameSizes[toc >> 3] as number) * frames || 960
}

const crcTable = Uint32Array.from({ length: 256 }, (_, i) => {
  let crc = i << 24
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x80000000 ? (crc << 1) ^ 0x04c11db7 : crc << 1
  return crc >>> 0
})

function crcOf (page: Buffer): number {
  let crc = 0
  for (const byte of page) crc = ((crc << 8) ^ (crcTable[((crc >>> 24) ^ byte) & 0xff] as number)) >>> 0
  return crc
}

/** An Ogg page (RFC 3533, section 6) with one packet of at most 65,024 bytes. */
function page (packet: Uint8Array, { serial, sequence, granule, flags }: { serial: number, sequence: number, granule: number, flags: number }): Buffer {
  const segments = Math.floor(packet.length / 255) + 1
  const header = Buffer.alloc(27 + segments)
  header.write('OggS')
  header[5] = flags
  header.writeBigUInt64LE(BigInt(granule), 6)
  header.writeUInt32LE(serial, 14)
  header.writeUInt32LE(sequence, 18)
  header[26] = segments
  header.fill(255, 27, 26 + segments)
  header[26 + segments] = packet.length % 255
  const bytes = Buffer.concat([header, packet])
  bytes.writeUInt32LE(crcOf(bytes), 22)
  return bytes
}

const firstPage = 2
const lastPage = 4

/** @returns the packets as an Ogg Opus file (RFC 7845) */
export function oggOpus (packets: readonly Uint8Array[]): Buffer {
  const serial = Math.floor(Math.random() * 2 ** 32)
  const head = Buffer.alloc(19)
  head.write('OpusHead')
  head[8] = 1
  head[9] = (packets[0]?.[0] ?? 0) & 4 ? 2 : 1
  head.writeUInt32LE(sampleRate, 12)
  const vendor = Buffer.from('flylive')
  const tags = Buffer.alloc(16 + vendor.length)
  tags.write('OpusTags')
  tags.writeUInt32LE(vendor.length, 8)
  vendor.copy(tags, 12)
  let granule = 0
  return Buffer.concat([
    page(head, { serial, sequence: 0, granule: 0, flags: firstPage }),
    page(tags, { serial, sequence: 1, granule: 0, flags: 0 }),
    ...packets.map((packet, i) => {
      granule += samplesOf(packet)
      return page(packet, { serial, sequence: i + 2, granule, flags: i === packets.length - 1 ? lastPage : 0 })
    })
  ])
}
