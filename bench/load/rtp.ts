// RTP and RTCP packets (RFC 3550), without encryption.

/** The fields of an RTP header that identify the stream and the order of its packets. */
export interface RtpHeader {
  ssrc: number
  sequenceNumber: number
  /** Timestamp in ticks of the RTP clock. For Opus, this clock always runs at 48 kHz. */
  timestamp: number
}

/** The RTP timestamp increases by this number per packet of 20 ms, because the RTP clock of Opus runs at 48 kHz. */
export const samplesPerPacket = 960

/** @returns the header of an RTP packet; undefined for RTCP (RFC 5761, section 4) and packets that are too short */
export function readRtpHeader (packet: Buffer): RtpHeader | undefined {
  if (packet.length < 12) return
  const payloadType = (packet[1] as number) & 0x7f
  if (payloadType >= 64 && payloadType <= 95) return
  return { sequenceNumber: packet.readUInt16BE(2), timestamp: packet.readUInt32BE(4), ssrc: packet.readUInt32BE(8) }
}

export interface RtpWriterOptions {
  ssrc: number
  payloadType: number
  /** Id of the header extension for the audio level (RFC 6464). */
  levelExtensionId: number
}

/**
 * Creates the packets of a stream. The timestamps of the packets are 20 ms apart.
 *
 * @returns a function that takes a payload and its level (0 is the loudest, 127 is silence) and returns a packet
 */
export function createRtpWriter ({ ssrc, payloadType, levelExtensionId }: RtpWriterOptions): (payload: Uint8Array, level: number) => Buffer {
  let sequenceNumber = Math.floor(Math.random() * 0x8000)
  let timestamp = Math.floor(Math.random() * 0x80000000)
  return (payload, level) => {
    const packet = Buffer.alloc(20 + payload.length)
    packet[0] = 0x90 // Version 2, with a header extension.
    packet[1] = payloadType
    packet.writeUInt16BE(sequenceNumber, 2)
    packet.writeUInt32BE(timestamp, 4)
    packet.writeUInt32BE(ssrc, 8)
    // Header extensions in the one-byte form (RFC 8285): one 32-bit word, which contains the level and padding.
    packet.writeUInt32BE(0xbede0001, 12)
    packet[16] = levelExtensionId << 4
    packet[17] = level
    packet.set(payload, 20)
    sequenceNumber = (sequenceNumber + 1) & 0xffff
    timestamp = (timestamp + samplesPerPacket) >>> 0
    return packet
  }
}

/** The statistics of a stream in an RTCP receiver report. */
export interface ReportBlock {
  ssrc: number
  /** Fraction of packets lost since the previous report, 0 to 1. */
  fractionLost: number
  /** Number of packets lost so far. */
  lost: number
  /** The highest sequence number received, including wrap-arounds. */
  highestSequenceNumber: number
}

/** @returns an RTCP receiver report with at most 31 blocks, without references to sender reports */
export function writeReceiverReport (ssrc: number, blocks: readonly ReportBlock[]): Buffer {
  const packet = Buffer.alloc(8 + 24 * blocks.length)
  packet[0] = 0x80 | blocks.length
  packet[1] = 201
  packet.writeUInt16BE(packet.length / 4 - 1, 2)
  packet.writeUInt32BE(ssrc, 4)
  for (const [i, block] of blocks.entries()) {
    const at = 8 + 24 * i
    packet.writeUInt32BE(block.ssrc, at)
    packet[at + 4] = Math.min(255, Math.floor(block.fractionLost * 256))
    packet.writeUIntBE(Math.min(block.lost, 0x7fffff), at + 5, 3)
    packet.writeUInt32BE(block.highestSequenceNumber >>> 0, at + 8)
  }
  return packet
}
