import type { MessagePort } from 'node:worker_threads'
import type { UserId } from '../../connections/session.ts'
import type { ProducerSource } from '../producer.ts'
import type { TappedVoice } from '../tap.ts'
import type { MixStats } from './stats.ts'

// Messages to and from a mixer thread. Audio packets do not pass through the main thread.

export type MixVoice = Pick<TappedVoice, 'producerId' | 'userId' | 'source' | 'ssrc' | 'levelExtensionId' | 'paused'>

/** Selects the streams that a mix sends to a message port, as {@link MixFrame}s. */
export interface MixStreams {
  /** The mix, as PCM samples. */
  pcm?: boolean
  /** The mix, as Opus packets. */
  packets?: boolean
  /** Each voice, as Opus packets. */
  voices?: boolean
}

/** A message that a mix sends to a message port. Timestamps count 48 kHz samples since the mix was opened. */
export type MixFrame =
  /** 20 ms of the mix: 960 samples per channel, interleaved. */
  { kind: 'pcm', timestamp: number, channels: 1 | 2, samples: Int16Array } |
  /** 20 ms of the mix. */
  { kind: 'packet', timestamp: number, payload: Uint8Array } |
  /**
   * A voice packet, passed on unchanged. Packets may be missing or out of order. `sequenceNumber` and `rtpTimestamp`
   * come from the RTP header; `timestamp` is the arrival time in samples.
   */
  { kind: 'voice', producerId: string, userId: UserId, source: ProducerSource, timestamp: number, sequenceNumber: number, rtpTimestamp: number, payload: Uint8Array }

export interface MixRoomOptions {
  /** UDP port on 127.0.0.1 for receiving the voices and sending the mix; 0 selects a free port. */
  port: number
  /**
   * When the mix was opened, in milliseconds of `highResolutionMs`. Sequence numbers and timestamps count from this
   * time, even after the mixer thread is replaced.
   */
  openedAt: number
  ssrc: number
  payloadType: number
  /** Maximum number of voices in the mix, not counting music. */
  maxVoices: number
}

export type ToMixer =
  { type: 'open', roomId: number, options: MixRoomOptions } |
  { type: 'voices', roomId: number, voices: MixVoice[] } |
  /** The UDP port on 127.0.0.1 that receives the mix. */
  { type: 'output', roomId: number, port: number } |
  { type: 'stream', roomId: number, port: MessagePort, streams: MixStreams } |
  { type: 'close', roomId: number }

export type FromMixer =
  { type: 'opened', roomId: number, port: number } |
  { type: 'failed', roomId: number, message: string } |
  { type: 'fault', roomId: number, stack: string } |
  { type: 'stats', stats: MixStats }
