import { MessageChannel, Worker } from 'node:worker_threads'
import type { RoomMix } from 'flylive-audio-server/feature'
import type { EndReason } from './messages.ts'
import type { RecordingRecord } from './records.ts'
import type { FromRecorder, OpenOptions, RecordedFile, ToRecorder } from './thread-messages.ts'

/** The handlers that the running generation of the feature provides. */
export interface RecorderHandlers {
  /** Called when a recording has ended and all its files are closed. */
  ended (recording: Recording): Promise<void>
  /** Called when the files of a recording have grown. */
  progress (recording: Recording): void
  warn (recording: Recording, message: string): void
  /** @returns the current time, in epoch milliseconds */
  now (): number
}

/** A running recording of a room on this server. The object survives reloads of the feature. */
export class Recording {
  readonly record: RecordingRecord
  readonly folder: string
  readonly mix: RoomMix
  /** The files, each with the size of its complete fragments on disk. */
  files: RecordedFile[] = []
  timelineBytes = 0
  /** Number of uploaded bytes per file. */
  readonly uploaded = new Map<string, number>()
  /** The upload in progress. */
  uploading: Promise<void> | undefined
  /** For each seat, the occupant that was last written to the timeline. */
  readonly seats = new Map<number, string | number>()
  /** The keys of the users whose names are already in the timeline. */
  readonly named = new Set<string>()
  /**
   * The last update of the record in the index: when it was made (epoch milliseconds), and how many files the record
   * then had.
   */
  saved = { at: 0, files: 0 }
  /** Why the recording ended; undefined while the recording is running or if a host stopped it. */
  reason: EndReason | undefined
  isClosing = false
  /** Epoch milliseconds. */
  endedAt: number | undefined
  readonly closed: PromiseWithResolvers<void> = Promise.withResolvers<void>()
  readonly #send: (message: ToRecorder, transfer?: MessagePort[]) => void

  constructor (record: RecordingRecord, folder: string, mix: RoomMix, send: (message: ToRecorder, transfer?: MessagePort[]) => void) {
    this.record = record
    this.folder = folder
    this.mix = mix
    this.#send = send
  }

  get id (): string {
    return this.record.recordingId
  }

  /** Connects the mixer thread directly to the recorder thread, so that packets do not pass through the main thread. */
  connect (): void {
    if (this.isClosing || this.mix.closed) return
    const { port1, port2 } = new MessageChannel()
    this.mix.stream(port1, { packets: true, voices: this.record.tracks })
    this.#send({ type: 'input', id: this.id, port: port2 }, [port2 as unknown as MessagePort])
  }

  /** Appends an entry to the timeline. */
  write (entry: object): void {
    if (!this.isClosing) this.#send({ type: 'line', id: this.id, line: JSON.stringify(entry) })
  }
}

/**
 * The recordings of this server and the thread that writes their files. The recorder keeps running during a reload of
 * the feature, so no audio is lost.
 */
export class Recorder {
  handlers: RecorderHandlers | undefined
  /** The running recordings, by room. */
  readonly rooms = new Map<string, Recording>()
  readonly #byId = new Map<string, Recording>()
  readonly #ending = new Set<Promise<void>>()
  #worker: Worker | undefined

  get (recordingId: string): Recording | undefined {
    return this.#byId.get(recordingId)
  }

  open (record: RecordingRecord, mix: RoomMix, options: OpenOptions): Recording {
    const recording = new Recording(record, options.folder, mix, (message, transfer = []) => this.#send(message, transfer))
    this.rooms.set(record.roomId, recording)
    this.#byId.set(recording.id, recording)
    this.#send({ type: 'open', id: recording.id, options })
    mix.on('close', () => { this.end(recording, 'room_closed') })
    recording.connect()
    return recording
  }

  /**
   * Ends a recording. Resolves once the recording is finished. Idempotent.
   *
   * @param reason undefined if a host stopped the recording
   */
  async end (recording: Recording, reason?: EndReason): Promise<void> {
    if (!recording.isClosing) {
      recording.isClosing = true
      recording.reason = reason
      recording.endedAt = this.handlers?.now()
      this.#send({ type: 'close', id: recording.id })
    }
    await recording.closed.promise
  }

  /** Ends all recordings, then terminates the thread. */
  async close (): Promise<void> {
    await Promise.all([...this.#byId.values()].map(async (recording) => await this.end(recording, 'server_stopped')))
    await Promise.all(this.#ending)
    const worker = this.#worker
    this.#worker = undefined
    await worker?.terminate()
  }

  #send (message: ToRecorder, transfer: MessagePort[] = []): void {
    const worker = this.#worker ??= this.#start()
    worker.postMessage(message, transfer as never)
  }

  #closed (recording: Recording, files: RecordedFile[]): void {
    recording.isClosing = true
    recording.files = files
    recording.endedAt ??= this.handlers?.now()
    this.#byId.delete(recording.id)
    if (this.rooms.get(recording.record.roomId) === recording) this.rooms.delete(recording.record.roomId)
    recording.mix.close()
    const ending = Promise.resolve(this.handlers?.ended(recording)).finally(() => {
      this.#ending.delete(ending)
      recording.closed.resolve()
    })
    this.#ending.add(ending)
    ending.catch(() => { /* The `ended` handler retries failed steps itself. */ })
  }

  #receive (message: FromRecorder): void {
    const recording = this.#byId.get(message.id)
    if (!recording) return
    switch (message.type) {
      case 'progress':
        recording.files = message.files
        recording.timelineBytes = message.timelineBytes
        this.handlers?.progress(recording)
        break
      case 'inputClosed':
        recording.connect()
        break
      case 'fault':
        this.handlers?.warn(recording, message.message)
        if (!recording.isClosing) recording.reason = message.fault
        recording.isClosing = true
        break
      case 'closed':
        this.#closed(recording, message.files)
    }
  }

  #start (): Worker {
    const worker = new Worker(new URL('thread.ts', import.meta.url), { execArgv: [], name: 'recorder' })
    const died = (reason: string) => {
      if (this.#worker !== worker) return
      this.#worker = undefined
      for (const recording of [...this.#byId.values()]) {
        this.handlers?.warn(recording, reason)
        if (!recording.isClosing) recording.reason = 'failed'
        this.#closed(recording, recording.files)
      }
    }
    worker.on('message', (message: FromRecorder) => this.#receive(message))
    worker.on('error', (error) => died(`The recorder thread failed: ${String(error)}`))
    worker.on('exit', () => died('The recorder thread ended'))
    worker.unref()
    return worker
  }
}
