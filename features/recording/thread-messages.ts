import type { MessagePort } from 'node:worker_threads'

// The messages between the main thread and the recorder thread: about two messages per recording per second.

/** A recorded file. */
export interface RecordedFile {
  name: string
  kind: 'mix' | 'voice'
  /** The speaker; only for voices. */
  userId?: string | number
  source?: 'voice' | 'music'
  /** Size of the complete fragments, in bytes. */
  bytes: number
  seconds: number
}

export interface OpenOptions {
  /** The recording's folder. It must exist. */
  folder: string
  /** True if each voice is also recorded in its own file. */
  tracks: boolean
  /** If the disk has less free space than this number of bytes, the recording ends. */
  minFreeBytes: number
}

export type ToRecorder =
  { type: 'open', id: string, options: OpenOptions } |
  /** Passes the port that receives the packets from the mixer thread. */
  { type: 'input', id: string, port: MessagePort } |
  /** Appends a line to the recording's timeline. */
  { type: 'line', id: string, line: string } |
  { type: 'close', id: string }

/** Why a recording cannot continue. */
export type Fault = 'disk_full' | 'failed'

export type FromRecorder =
  { type: 'progress', id: string, files: RecordedFile[], timelineBytes: number } |
  /** The mixer thread has closed the port; the main thread must send a new one. */
  { type: 'inputClosed', id: string } |
  /** The recording cannot continue. A `closed` message follows. */
  { type: 'fault', id: string, fault: Fault, message: string } |
  /** All files are closed. */
  { type: 'closed', id: string, files: RecordedFile[] }
