import type { MessagePort } from 'node:worker_threads'
import type { Codec, Part } from './part-cutter.ts'

// Messages between the main thread and the packager thread: about eight per room per second.

export type ToPackager =
  /** `startTime`: Unix time at timestamp 0 of the mix, in milliseconds. */
  { type: 'open', channel: number, startTime: number } |
  /** The port that receives the mix's frames from the mixer thread. */
  { type: 'input', channel: number, port: MessagePort } |
  { type: 'close', channel: number }

export type FromPackager =
  { type: 'init', channel: number, codec: Codec, data: Uint8Array } |
  { type: 'part', channel: number, part: Part } |
  /** The mixer thread has closed the port; the main thread must send a new one. */
  { type: 'inputClosed', channel: number } |
  { type: 'failed', channel: number, message: string }
