import { createSocket } from 'node:dgram'
import { parentPort } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import { samplesOf } from './opus.ts'
import { sentLevelExtensionId, sentPayloadType } from './rtp-messages.ts'
import type { RtpCommand, RtpEvent, WatchedVoice } from './rtp-messages.ts'

// The thread that receives and sends RTP. While a native client is silent, the thread does not pass the client's
// packets to the main thread.

/** The lowest level that counts as speech, in −dBov: 0 is the loudest, 127 is silence. */
const quietestVoice = 60
/**
 * Audio level that the thread writes into the packets that it sends. The thread does not decode the packets, so it
 * cannot measure their level.
 */
const sentLevel = 20
/** How long the thread keeps passing packets to the main thread after the last packet with speech, in milliseconds. */
const hangoverMs = 1500
/** An Opus packet of at most this size is silence (DTX). */
const maxSilentBytes = 3
/** Pauses of more than this number of milliseconds advance the RTP timestamp; shorter pauses count as jitter. */
const maxJitterMs = 200

interface Voice extends WatchedVoice {
  channel: string
  lastVoiceAt: number
}

interface Stream {
  ip: string
  port: number
  ssrc: number
  sequence: number
  timestamp: number
  /** When the audio of the last packet ends, as a `performance.now()` value. */
  endsAt: number
}

const port = parentPort as MessagePort
const socket = createSocket('udp4')
const voices = new Map<number, Voice>()
const streams = new Map<string, Stream>()

const post = (event: RtpEvent) => port.postMessage(event)

/** Parses the RTP header (RFC 3550) and the audio level. */
function parse (packet: Buffer, levelId: number | undefined): { payload: Buffer, level: number | undefined } | undefined {
  const first = packet[0] as number
  let offset = 12 + (first & 15) * 4
  let level: number | undefined
  if (first & 0x10) {
    if (packet.length < offset + 4) return
    const end = offset + 4 + packet.readUInt16BE(offset + 2) * 4
    if (packet.length < end) return
    // One-byte header extensions (RFC 8285).
    if (packet.readUInt16BE(offset) === 0xbede) {
      for (let i = offset + 4; i < end;) {
        const byte = packet[i] as number
        if (byte === 0) { i++; continue }
        if (byte >> 4 === levelId) level = (packet[i + 1] as number) & 127
        i += (byte & 15) + 2
      }
    }
    offset = end
  }
  const padding = first & 0x20 ? packet.at(-1) as number : 0
  return { payload: packet.subarray(offset, packet.length - padding), level }
}

socket.on('message', (packet) => {
  if (packet.length < 12) return
  const type = (packet[1] as number) & 127
  // RTCP (RFC 5761).
  if (type >= 64 && type <= 95) return
  const voice = voices.get(packet.readUInt32BE(8))
  const parsed = voice && parse(packet, voice.levelExtensionId)
  if (!voice || !parsed || parsed.payload.length === 0) return
  const now = performance.now()
  const { payload, level } = parsed
  const isVoice = payload.length > maxSilentBytes && (level ?? 0) <= quietestVoice
  if (isVoice) voice.lastVoiceAt = now
  if (now - voice.lastVoiceAt < hangoverMs) post({ channel: voice.channel, userKey: voice.userKey, packet: new Uint8Array(payload), isVoice })
})

function send (stream: Stream, packet: Uint8Array): void {
  const now = performance.now()
  const pauseMs = now - stream.endsAt
  const samples = samplesOf(packet)
  if (stream.endsAt > 0 && pauseMs > maxJitterMs) stream.timestamp += Math.round(pauseMs * 48)
  const header = Buffer.alloc(20)
  header[0] = 0x90
  header[1] = sentPayloadType | (stream.endsAt === 0 ? 0x80 : 0)
  header.writeUInt16BE(stream.sequence & 0xffff, 2)
  header.writeUInt32BE(stream.timestamp >>> 0, 4)
  header.writeUInt32BE(stream.ssrc, 8)
  header.writeUInt16BE(0xbede, 12)
  header.writeUInt16BE(1, 14)
  header[16] = sentLevelExtensionId << 4
  header[17] = packet.length > maxSilentBytes ? sentLevel | 0x80 : 127
  socket.send([header, packet], stream.port, stream.ip)
  stream.sequence++
  stream.timestamp += samples
  stream.endsAt = Math.max(stream.endsAt, now) + samples / 48
}

port.on('message', (command: RtpCommand) => {
  switch (command.op) {
    case 'voices': {
      const { channel } = command
      const before = new Map([...voices].filter(([, voice]) => voice.channel === channel))
      for (const ssrc of before.keys()) voices.delete(ssrc)
      for (const voice of command.voices) voices.set(voice.ssrc, { ...voice, channel, lastVoiceAt: before.get(voice.ssrc)?.lastVoiceAt ?? -Infinity })
      return
    }
    case 'open': {
      const { stream, ip, port, ssrc } = command
      const known = streams.get(stream) ?? { sequence: 0, timestamp: 0, endsAt: 0 }
      streams.set(stream, { ...known, ip, port, ssrc })
      return
    }
    case 'send': {
      const stream = streams.get(command.stream)
      if (stream) send(stream, command.packet)
      return
    }
    case 'close':
      streams.delete(command.stream)
  }
})

socket.bind(0, '127.0.0.1', () => post({ port: socket.address().port }))
