import { createSocket } from 'node:dgram'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

/** An RTP packet (RFC 3550) as this server sends and receives it. */
export interface RtpPacket {
  ssrc: number
  payloadType: number
  sequenceNumber: number
  payload: Buffer
}

/** 20 ms of silence in Opus. */
export const opusSilence = Buffer.from([0xf8, 0xff, 0xfe])

/** A header extension that contains a packet's loudness (RFC 6464). */
export interface AudioLevel {
  id: number
  /** In dBov, -127 to 0. */
  dBov: number
}

/** @returns a packet with at most one header extension. The timestamp is the sequence number times 20 ms */
export function writeRtp ({ ssrc, payloadType, sequenceNumber, payload }: RtpPacket, level?: AudioLevel): Buffer {
  const header = Buffer.alloc(12)
  header[0] = 0x80
  header[1] = payloadType
  header.writeUInt16BE(sequenceNumber & 0xffff, 2)
  header.writeUInt32BE((sequenceNumber * 960) >>> 0, 4)
  header.writeUInt32BE(ssrc, 8)
  if (!level) return Buffer.concat([header, payload])
  header[0] = 0x90
  const extension = Buffer.from([0xbe, 0xde, 0, 1, level.id << 4, 0x80 | -level.dBov, 0, 0])
  return Buffer.concat([header, extension, payload])
}

/** @returns the parsed packet; undefined if it is RTCP */
export function readRtp (packet: Buffer): RtpPacket | undefined {
  const payloadType = (packet[1] as number) & 0x7f
  if (payloadType >= 64 && payloadType <= 95) return
  const hasExtension = ((packet[0] as number) & 0x10) !== 0
  const extension = 12 + ((packet[0] as number) & 0x0f) * 4
  const start = hasExtension ? extension + 4 + packet.readUInt16BE(extension + 2) * 4 : extension
  return { ssrc: packet.readUInt32BE(8), payloadType, sequenceNumber: packet.readUInt16BE(2), payload: packet.subarray(start) }
}

/** Receives RTP on a new UDP port until the test ends. */
export async function rtpReceiver (t: Test) {
  const socket = createSocket('udp4')
  const packets: RtpPacket[] = []
  socket.on('message', (message) => {
    const packet = readRtp(message)
    if (packet) packets.push(packet)
  })
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  t.teardown(() => new Promise<void>((resolve) => socket.close(() => resolve())))
  return { port: (socket.address() as AddressInfo).port, packets }
}

/**
 * Sends silence every 20 ms until the test ends.
 *
 * @param level the loudness in the packets' header
 * @returns a function that changes the destination
 */
export function sendSilence (t: Test, ssrc: number, address: { ip: string, port: number }, payloadType = 100, level?: AudioLevel) {
  const socket = createSocket('udp4')
  let to = address
  let sequenceNumber = 0
  const timer = setInterval(() => {
    socket.send(writeRtp({ ssrc, payloadType, sequenceNumber: sequenceNumber++, payload: opusSilence }, level), to.port, to.ip)
  }, 20)
  t.teardown(() => {
    clearInterval(timer)
    socket.close()
  })
  return (address: { ip: string, port: number }) => { to = address }
}
