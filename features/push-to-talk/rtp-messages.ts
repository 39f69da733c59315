/** The parameters that the RTP thread needs to read a native client's audio. */
export interface WatchedVoice {
  ssrc: number
  userKey: string
  /** Id of the RTP header extension for the audio level (RFC 6464). */
  levelExtensionId: number | undefined
}

/** A message to the RTP thread. */
export type RtpCommand =
  /** Replaces a channel's list of native clients whose audio the thread reads. */
  { op: 'voices', channel: string, voices: readonly WatchedVoice[] } |
  /** Sets the address to which the packets of a stream are sent. */
  { op: 'open', stream: string, ip: string, port: number, ssrc: number } |
  { op: 'send', stream: string, packet: Uint8Array } |
  { op: 'close', stream: string }

/** A packet that contains speech or closely follows speech. */
export interface VoicePacket {
  channel: string
  userKey: string
  /** Opus. */
  packet: Uint8Array
  /** Whether the packet contains speech. */
  isVoice: boolean
}

/** A message from the RTP thread: the port that receives packets, or a packet. */
export type RtpEvent = { port: number } | VoicePacket

/** Id of the audio level header extension in the packets that the thread sends. */
export const sentLevelExtensionId = 1
export const sentPayloadType = 100
/**
 * Maximum size of an Opus packet, in bytes. A larger packet would not fit into one RTP packet to a native client. Opus
 * at 128 kbit/s needs 960 bytes per 60 ms.
 */
export const maxOpusBytes = 1200
