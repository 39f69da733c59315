import type { MessagePort } from 'node:worker_threads'
import type { Codec, Part } from './part-cutter.ts'

// Messages between the main thread and the packager thread. There are about eight messages per room per second.

export type ToPackager =
  /** `startTime` is the Unix time of the mix's timestamp 0, in milliseconds. */
  { type: 'open', channel: number, startTime: number } |
  /** `port` receives the frames of the mix from the mixer thread. */
  { type: 'input', channel: number, port: MessagePort } |
  { type: 'close', channel: number }

export type FromPackager =
  { type: 'init', channel: number, codec: Codec, data: Uint8Array } |
  { type: 'part', channel: number, part: Part } |
  /** The mixer thread has closed the port; the main thread must send a new port. */
  { type: 'inputClosed', channel: number } |
  { type: 'failed', channel: number, message: string }
