import { availableParallelism } from 'node:os'
import type { EventLoopUtilization } from 'node:perf_hooks'
import { Worker } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import type { FastifyBaseLogger } from 'fastify'
import { unavailable } from '../../errors/codes.ts'
import { afterReading, withTimeout } from '../../errors/timeout.ts'
import type { Metrics } from '../../metrics.ts'
import type { FromMixer, MixRoomOptions, MixStreams, MixVoice, ToMixer } from './messages.ts'
import { createMixMetrics } from './metrics.ts'
import type { MixMetrics } from './metrics.ts'
import { compileOpus } from './opus.ts'
import type { MixStats } from './stats.ts'

/** A handle to a room's mix in a mixer thread. */
export interface ThreadRoom {
  /** UDP port on 127.0.0.1 for receiving the voices and sending the mix. */
  readonly port: number
  setVoices (voices: readonly MixVoice[]): void
  /** @param port the UDP port on 127.0.0.1 that receives the mix */
  setOutput (port: number): void
  /**
   * Transfers a message port to the mixer thread, which then sends frames to the port. The port closes when the mix or
   * the thread ends.
   */
  stream (port: MessagePort, streams: MixStreams): void
  close (): void
}

export interface MixThreads {
  /**
   * Opens a mix in the thread with the fewest mixes. If the thread dies, the mix is reopened in another thread.
   *
   * @param moved called if the mix is reopened on a different port because its previous port is no longer free
   * @throws UNAVAILABLE
   */
  open (options: Omit<MixRoomOptions, 'port'>, moved: () => void): Promise<ThreadRoom>
  threads (): readonly Worker[]
  close (): Promise<void>
}

/** How long a thread may take to open a mix, in milliseconds. */
const timeoutMs = 5000
/** A thread that has not reported for this many milliseconds is restarted. */
const silentMs = 5000
/**
 * Minimum interval between logged faults of a thread, in milliseconds. The interval keeps the log short, because a
 * fault may recur with every packet.
 */
const faultIntervalMs = 1000
/**
 * If the thread with the fewest mixes has at least this {@link MixThread.load}, a new mix starts another thread, up to
 * one thread per CPU core.
 */
const fullLoad = 0.6
const respawnDelayMs = 100
const maxRespawnDelayMs = 5000

/**
 * Mixer threads. The first thread starts with the first mix. Further threads start when the running threads are busy.
 */
export function createMixThreads (metrics: Metrics, log: FastifyBaseLogger): MixThreads {
  const threads = new Set<MixThread>()
  const mixMetrics = createMixMetrics(metrics)
  let opus: Promise<WebAssembly.Module> | undefined
  let nextId = 1
  let closed = false

  function threadForRoom (): MixThread {
    const [least] = [...threads].sort((a, b) => a.rooms.size - b.rooms.size)
    if (least && (least.load < fullLoad || threads.size >= availableParallelism())) return least
    const thread = new MixThread(() => (opus ??= compileOpus()), mixMetrics, log)
    threads.add(thread)
    return thread
  }

  return {
    async open (options, moved) {
      if (closed) throw unavailable('The server is shutting down')
      const thread = threadForRoom()
      const room = new HostedRoom(nextId++, thread, options, moved)
      await room.open()
      return room
    },
    threads: () => [...threads].flatMap(({ worker }) => worker ?? []),
    async close () {
      closed = true
      await Promise.all([...threads].map((thread) => thread.close()))
    }
  }
}

/** A mix that runs in a thread, with the data that another thread needs to reopen the mix. */
class HostedRoom implements ThreadRoom {
  readonly id: number
  readonly #thread: MixThread
  readonly #options: Omit<MixRoomOptions, 'port'>
  readonly #moved: () => void
  readonly #opening = Promise.withResolvers<void>()
  #port = 0
  #voices: MixVoice[] = []
  #output = 0

  constructor (id: number, thread: MixThread, options: Omit<MixRoomOptions, 'port'>, moved: () => void) {
    this.id = id
    this.#thread = thread
    this.#options = options
    this.#moved = moved
  }

  get port (): number {
    return this.#port
  }

  async open (): Promise<void> {
    this.#opening.promise.catch(() => {})
    this.#thread.add(this)
    try {
      await withTimeout(this.#opening.promise, timeoutMs, () => { throw unavailable('The mixer thread did not open the mix in time') })
    } catch (error) {
      this.close()
      throw error
    }
  }

  setVoices (voices: readonly MixVoice[]): void {
    this.#voices = [...voices]
    this.#thread.send({ type: 'voices', roomId: this.id, voices: this.#voices })
  }

  setOutput (port: number): void {
    this.#output = port
    this.#thread.send({ type: 'output', roomId: this.id, port })
  }

  stream (port: MessagePort, streams: MixStreams): void {
    if (!this.#thread.send({ type: 'stream', roomId: this.id, port, streams }, [port])) port.close()
  }

  close (): void {
    this.#thread.remove(this)
  }

  /** Sends all of the mix's data to a new thread. */
  restore (): void {
    this.#thread.send({ type: 'open', roomId: this.id, options: { ...this.#options, port: this.#port } })
    if (this.#voices.length > 0) this.setVoices(this.#voices)
    if (this.#output > 0) this.setOutput(this.#output)
  }

  opened (port: number): void {
    const isOther = this.#port !== 0 && this.#port !== port
    this.#port = port
    this.#opening.resolve()
    if (isOther) this.#moved()
  }

  failed (message: string): void {
    if (this.#port === 0) return this.#opening.reject(unavailable('The mix cannot be opened', new Error(message)))
    // Choose a free port: another process took the previous port while the thread was being replaced.
    this.#thread.send({ type: 'open', roomId: this.id, options: { ...this.#options, port: 0 } })
  }
}

/** A mixer thread. When the thread ends or stops reporting, a new thread replaces it. */
class MixThread {
  readonly rooms = new Map<number, HostedRoom>()
  /** The fraction of the last second in which the thread was running or waiting for a CPU core. */
  load = 0
  worker: Worker | undefined
  readonly #opus: () => Promise<WebAssembly.Module>
  readonly #metrics: MixMetrics
  readonly #log: FastifyBaseLogger
  #attempts = 0
  #lastFaultAt = -Infinity
  #utilization: EventLoopUtilization | undefined
  #cancelWatchdog: () => void = () => {}
  #closed = false

  constructor (opus: () => Promise<WebAssembly.Module>, metrics: MixMetrics, log: FastifyBaseLogger) {
    this.#opus = opus
    this.#metrics = metrics
    this.#log = log
    this.#start()
  }

  add (room: HostedRoom): void {
    this.rooms.set(room.id, room)
    if (this.worker) room.restore()
  }

  remove (room: HostedRoom): void {
    if (this.rooms.delete(room.id)) this.send({ type: 'close', roomId: room.id })
  }

  /**
   * @returns false if no thread is running. In that case, {@link HostedRoom.restore} later sends all data to the next
   *   thread
   */
  send (message: ToMixer, transfer: MessagePort[] = []): boolean {
    this.worker?.postMessage(message, transfer)
    return this.worker !== undefined
  }

  async close (): Promise<void> {
    this.#closed = true
    this.#cancelWatchdog()
    await this.worker?.terminate()
  }

  async #start (): Promise<void> {
    try {
      const module = await this.#opus()
      if (this.#closed) return
      const worker = new Worker(new URL('./thread.ts', import.meta.url), { execArgv: [], workerData: module, name: 'mixer' })
      let failure: unknown
      worker.on('error', (err) => { failure = err })
      worker.once('exit', (exitCode) => this.#ended(worker, failure ?? new Error(`The thread ended with code ${exitCode}`)))
      worker.on('message', (message: FromMixer) => this.#receive(message))
      worker.unref()
      this.worker = worker
      this.#utilization = worker.performance.eventLoopUtilization()
      this.#watch(worker)
      for (const room of this.rooms.values()) room.restore()
    } catch (err) {
      this.#restart(err)
    }
  }

  #ended (worker: Worker, err: unknown): void {
    if (this.worker !== worker) return
    this.worker = undefined
    this.#cancelWatchdog()
    this.#metrics.report(this, undefined)
    if (this.#closed) return
    this.#metrics.died()
    this.#restart(err)
  }

  #restart (err: unknown): void {
    this.#log.error({ err, rooms: this.rooms.size }, 'mixer thread ended, restarting')
    const delay = this.#attempts === 0 ? 0 : Math.min(respawnDelayMs * 2 ** this.#attempts, maxRespawnDelayMs)
    this.#attempts++
    setTimeout(() => { this.#start() }, delay).unref()
  }

  /** Ends the thread if it stops reporting (in an endless loop, for example). */
  #watch (worker: Worker): void {
    this.#cancelWatchdog()
    this.#cancelWatchdog = afterReading(silentMs, () => {
      this.#log.error({ rooms: this.rooms.size }, 'mixer thread does not respond')
      worker.terminate()
    })
  }

  #receive (message: FromMixer): void {
    if (message.type === 'stats') return this.#report(message.stats)
    const room = this.rooms.get(message.roomId)
    if (message.type === 'opened') room?.opened(message.port)
    else if (message.type === 'failed') room?.failed(message.message)
    else this.#fault(message.stack)
  }

  #fault (stack: string): void {
    const now = performance.now()
    if (now - this.#lastFaultAt < faultIntervalMs) return
    this.#lastFaultAt = now
    this.#log.error({ stack }, 'a mix failed and was restarted')
  }

  #report (stats: MixStats): void {
    this.#attempts = 0
    this.#metrics.report(this, stats)
    if (!this.worker) return
    const { performance } = this.worker
    const utilization = performance.eventLoopUtilization()
    this.load = performance.eventLoopUtilization(utilization, this.#utilization).utilization
    this.#utilization = utilization
    this.#watch(this.worker)
  }
}
