// RTP packets (RFC 3550) between this process and its media workers.

/** The fields of a received packet that the mixer needs. */
export interface IncomingRtp {
  ssrc: number
  sequenceNumber: number
  timestamp: number
  /** The audio level (RFC 6464) in dBov, from −127 (silence) to 0; undefined if the packet does not contain it. */
  level: number | undefined
  payload: Buffer
}

const oneByteProfile = 0xbede

/**
 * Whether a packet is RTCP. On a port for both RTCP and RTP, the byte that contains the payload type distinguishes the
 * packets (RFC 5761).
 */
const isRtcp = (packet: Buffer) => packet[1] !== undefined && packet[1] >= 192 && packet[1] <= 223

export const ssrcOf = (packet: Buffer): number | undefined =>
  packet.length < 12 || (packet[0] as number) >> 6 !== 2 || isRtcp(packet) ? undefined : packet.readUInt32BE(8)

/**
 * @param levelExtensionId id of the header extension for the audio level
 * @returns undefined if the packet is invalid or RTCP
 */
export function readRtp (packet: Buffer, levelExtensionId: number | undefined): IncomingRtp | undefined {
  const ssrc = ssrcOf(packet)
  if (ssrc === undefined) return
  const first = packet[0] as number
  let start = 12 + (first & 0x0f) * 4
  let level: number | undefined
  if ((first & 0x10) !== 0) {
    if (packet.length < start + 4) return
    const end = start + 4 + packet.readUInt16BE(start + 2) * 4
    if (packet.length < end) return
    if (levelExtensionId !== undefined && packet.readUInt16BE(start) === oneByteProfile) level = readLevel(packet, start + 4, end, levelExtensionId)
    start = end
  }
  const padding = (first & 0x20) === 0 ? 0 : packet[packet.length - 1] as number
  const end = packet.length - padding
  if (end < start) return
  return { ssrc, sequenceNumber: packet.readUInt16BE(2), timestamp: packet.readUInt32BE(4), level, payload: packet.subarray(start, end) }
}

/** Finds the audio level among header extensions with one-byte headers (RFC 8285, section 4.2). */
function readLevel (packet: Buffer, from: number, end: number, id: number): number | undefined {
  for (let at = from; at < end;) {
    const head = packet[at] as number
    if (head === 0) at++
    else if (head >> 4 === 15) return
    else if (head >> 4 === id) return at + 1 < end ? -((packet[at + 1] as number) & 0x7f) : undefined
    else at += 2 + (head & 15)
  }
}

/** @returns the RTP packet; the sequence number and the timestamp wrap around */
export function writeRtp (ssrc: number, payloadType: number, sequenceNumber: number, timestamp: number, payload: Uint8Array): Buffer {
  const packet = Buffer.allocUnsafe(12 + payload.length)
  packet[0] = 0x80
  packet[1] = payloadType
  packet.writeUInt16BE(sequenceNumber & 0xffff, 2)
  packet.writeUInt32BE(timestamp >>> 0, 4)
  packet.writeUInt32BE(ssrc, 8)
  packet.set(payload, 12)
  return packet
}
