import { Worker } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import type { Codec, Part } from './part-cutter.ts'
import type { FromPackager, ToPackager } from './packager-messages.ts'

/** Receives the packager thread's output for a room. */
export interface PackagerListener {
  init (codec: Codec, data: Uint8Array): void
  part (part: Part): void
  /** The mixer thread has closed the input; call `input` with a new port. */
  inputClosed (): void
  /** The channel has ended because the thread died or the channel's encoder failed. */
  failed (reason: string): void
}

/** Sends the audio of one room to the packager thread. */
export interface PackagerChannel {
  /** @param port receives the PCM samples and packets of the mix. It is transferred to the packager thread */
  input (port: MessagePort): void
  /** Idempotent. */
  close (): void
}

/**
 * The packager thread of this server. It starts when the first channel is opened. If it dies, a new thread starts when
 * the next channel is opened.
 */
export class Packager {
  readonly #listeners = new Map<number, PackagerListener>()
  #worker: Worker | undefined
  #nextId = 1

  /** @param startTime the Unix time of the mix's timestamp 0, in milliseconds */
  open (startTime: number, listener: PackagerListener): PackagerChannel {
    const id = this.#nextId++
    const worker = this.#worker ??= this.#start()
    const send = (message: ToPackager, transfer: MessagePort[] = []) => worker.postMessage(message, transfer)
    this.#listeners.set(id, listener)
    send({ type: 'open', channel: id, startTime })
    return {
      input: (port) => send({ type: 'input', channel: id, port }, [port]),
      close: () => { if (this.#listeners.delete(id)) send({ type: 'close', channel: id }) }
    }
  }

  /** Ends the thread. */
  async close (): Promise<void> {
    this.#listeners.clear()
    await this.#worker?.terminate()
  }

  /** Ends the thread as a crash would; only for tests. */
  async crash (): Promise<void> {
    await this.#worker?.terminate()
  }

  #start (): Worker {
    const worker = new Worker(new URL('packager-thread.ts', import.meta.url), { execArgv: [], name: 'packager' })
    const died = (reason: string) => {
      if (this.#worker !== worker) return
      this.#worker = undefined
      const listeners = [...this.#listeners.values()]
      this.#listeners.clear()
      for (const listener of listeners) listener.failed(reason)
    }
    worker.on('message', (message: FromPackager) => {
      const listener = this.#listeners.get(message.channel)
      switch (message.type) {
        case 'init': return listener?.init(message.codec, message.data)
        case 'part': return listener?.part(message.part)
        case 'inputClosed': return listener?.inputClosed()
        case 'failed':
          // The thread keeps a channel, and its input from the mixer thread, until the channel is closed.
          if (this.#listeners.delete(message.channel)) worker.postMessage({ type: 'close', channel: message.channel } satisfies ToPackager)
          listener?.failed(message.message)
      }
    })
    worker.on('error', (error) => died(`The packager thread failed: ${String(error)}`))
    worker.on('exit', () => died('The packager thread ended'))
    return worker
  }
}
