import { setTimeout as delay } from 'node:timers/promises'
import type { types } from 'mediasoup'
import type { FastifyInstance } from 'fastify'
import { isCoded } from '../../errors/codes.ts'
import type { RoomProducer } from '../producer.ts'
import type { RoomMedia } from '../room-media.ts'
import type { PipedVoice, PipeEnd, PipeId, RegisteredVoice } from './messages.ts'

export interface SinkContext extends Pick<FastifyInstance, 'cluster' | 'log' | 'nodeId'> {
  listenInfo (): types.TransportListenInfo
  endOf (transport: types.PipeTransport): PipeEnd
  nextEpoch (): number
  requestMs: number
  /** If no packets arrive for this many milliseconds while the source receives packets, the pipe is replaced. */
  silenceMs: number
  /** Called after voices are added to the pipe. */
  fetched (): void
  /**
   * Called after a failure. `refused`: the source did not open the pipe or did not add voices to it. `silent`: the
   * source receives packets, but none of them arrive through the pipe.
   */
  failed (reason: 'refused' | 'silent'): void
  /** Called when a voice that is still wanted is closed, for example because its pipe is closed. */
  lost (producerId: string): void
  /** Called when the audio from the source is interrupted, and when it flows again. */
  interrupted (isInterrupted: boolean): void
}

interface Pipe {
  id: PipeId
  transport: types.PipeTransport
  /** Whether both ends of the pipe are open. */
  isOpen: boolean
  /** Number of bytes received. */
  bytes: number
  /** Time of the last check that found that `bytes` had grown or that all voices of the pipe were paused. */
  flowedAt: number
  /** The number of packets that the source had received per voice when a check first found the pipe silent. */
  atSource: Record<string, number> | undefined
}

/** After this many milliseconds without packets, the sink asks the source how many packets it has received. */
const suspiciousMs = 900
/** Number of packets that the source may receive while the sink receives none, although the pipe works. */
const inFlight = 2
/**
 * Maximum wait between replacements of the pipe, in milliseconds. The wait doubles after each replacement that does not
 * help. If the network is the cause, more frequent replacements do not help either.
 */
const maxSilenceMs = 15_000
const backoffMs = 250
const maxBackoffMs = 15_000

/** Receives one room's voices from one other server through one pipe. */
export class Sink {
  readonly #source: string
  readonly #media: RoomMedia
  readonly #context: SinkContext
  readonly #received = new Map<string, RoomProducer>()
  readonly #closing = new AbortController()
  /** Ends the wait before the next attempt to get the voices. */
  #wake: (() => void) | undefined
  #wanted: ReadonlyMap<string, RegisteredVoice> = new Map()
  #pipe: Pipe | undefined
  #replacements = 0
  #running = false
  #isPulling = false
  #again = false
  #failures = 0
  #isInterrupted = false

  constructor (source: string, media: RoomMedia, context: SinkContext) {
    this.#source = source
    this.#media = media
    this.#context = context
  }

  /** The current pipe's epoch; undefined if there is no pipe. */
  get epoch (): number | undefined {
    return this.#pipe?.id.epoch
  }

  get isInterrupted (): boolean {
    return this.#isInterrupted
  }

  /** Sets the voices to pull. Closes all other voices. */
  want (voices: ReadonlyMap<string, RegisteredVoice>): void {
    this.#wanted = voices
    for (const [producerId, producer] of this.#received) {
      const voice = voices.get(producerId)
      if (!voice) producer.close()
      else this.#setPaused(producer, voice.paused)
    }
    this.#run()
  }

  /** Starts the next attempt without waiting. Called when the servers can reach each other again. */
  retry (): void {
    this.#failures = 0
    this.#wake?.()
  }

  /** Closes the pipe and its voices. Idempotent. */
  close (): void {
    if (this.#closing.signal.aborted) return
    this.#closing.abort()
    this.#drop()
    this.#setInterrupted(false)
  }

  /** Replaces the pipe if no packets arrive through it although the source receives packets. Called every second. */
  async check (): Promise<void> {
    const pipe = this.#pipe
    if (!pipe || this.#isPulling) return
    const stats = await pipe.transport.getStats()
    const bytes = stats.reduce((sum, { rtpBytesReceived }) => sum + rtpBytesReceived, 0)
    const now = performance.now()
    const expected = [...this.#received.keys()].filter((producerId) => this.#wanted.get(producerId)?.paused === false)
    if (bytes !== pipe.bytes || expected.length === 0) {
      if (bytes !== pipe.bytes) {
        this.#replacements = 0
        this.#setInterrupted(false)
      }
      pipe.bytes = bytes
      pipe.flowedAt = now
      pipe.atSource = undefined
      return
    }
    if (now - pipe.flowedAt < suspiciousMs) return
    const counts = await this.#context.cluster.ask(this.#source, 'relay:counts', { roomId: this.#media.roomId, voices: expected }, this.#context.requestMs)
    const { atSource = counts } = pipe
    pipe.atSource = atSource
    const isBroken = Object.entries(counts).some(([producerId, count]) => count > (atSource[producerId] ?? count) + inFlight)
    const patience = Math.min(this.#context.silenceMs * 2 ** this.#replacements, maxSilenceMs)
    if (!isBroken || now - pipe.flowedAt < patience - suspiciousMs / 2 || this.#pipe !== pipe || this.#isPulling) return
    this.#context.log.warn({ roomId: this.#media.roomId, source: this.#source }, 'no audio arrives from another server; opening a new connection')
    this.#context.failed('silent')
    this.#replacements++
    this.#drop()
    this.#setInterrupted(true)
    this.#wake?.()
    this.#run()
  }

  #setInterrupted (isInterrupted: boolean): void {
    if (isInterrupted === this.#isInterrupted) return
    this.#isInterrupted = isInterrupted
    this.#context.interrupted(isInterrupted)
  }

  #setPaused (producer: RoomProducer, paused: boolean): void {
    (paused ? producer.pause('server') : producer.resume('server')).catch(() => { /* The producer is closed. */ })
  }

  /**
   * Closes the pipe and its voices, and notifies the source. If the notification is lost, the source closes its end of
   * the pipe at its next check.
   */
  #drop (): void {
    const pipe = this.#pipe
    this.#pipe = undefined
    for (const producer of [...this.#received.values()]) producer.close()
    this.#received.clear()
    if (!pipe) return
    pipe.transport.close()
    const { cluster, requestMs } = this.#context
    cluster.ask(this.#source, 'relay:drop', pipe.id, requestMs).catch(() => { /* The source periodically checks which pipes are in use. */ })
  }

  async #run (): Promise<void> {
    this.#again = true
    if (this.#running) return
    this.#running = true
    try {
      while (this.#again && !this.#closing.signal.aborted) {
        this.#again = false
        try {
          this.#isPulling = true
          await this.#pull().finally(() => { this.#isPulling = false })
          this.#failures = 0
        } catch (err) {
          if (this.#closing.signal.aborted) return
          this.#context.log.warn({ err, roomId: this.#media.roomId, source: this.#source }, 'failed to get audio from another server')
          // Keep an open pipe if the source did not reply: audio flows through the pipe even if the main threads of the
          // two servers cannot reach each other.
          const isUnanswered = isCoded(err) && err.code === 'UNAVAILABLE'
          if (!isUnanswered || this.#pipe?.isOpen !== true) this.#drop()
          this.#again = true
          this.#context.failed('refused')
          await this.#wait(Math.min(backoffMs * 2 ** this.#failures++, maxBackoffMs))
        }
      }
    } finally {
      this.#running = false
    }
  }

  async #wait (ms: number): Promise<void> {
    const waiting = new AbortController()
    this.#wake = () => waiting.abort()
    await delay(ms, undefined, { signal: AbortSignal.any([waiting.signal, this.#closing.signal]), ref: false }).catch(() => { /* The wait was cut short. */ })
    this.#wake = undefined
  }

  async #pull (): Promise<void> {
    const { cluster, nodeId, requestMs } = this.#context
    if (this.#pipe?.transport.closed === true) this.#drop()
    const missing = [...this.#wanted.keys()].filter((producerId) => !this.#received.has(producerId))
    if (missing.length === 0) return
    if (!this.#pipe) return await this.#open(missing)
    const { id, transport } = this.#pipe
    const more = await cluster.ask(this.#source, 'relay:more', { ...id, from: nodeId, voices: missing }, requestMs)
    if (more) return await this.#receive(transport, more.voices)
    // The source has closed the pipe, for example because its worker died.
    this.#drop()
    await this.#open([...this.#wanted.keys()])
  }

  async #open (wanted: string[]): Promise<void> {
    const { cluster, endOf, listenInfo, nextEpoch, nodeId, requestMs } = this.#context
    const { router } = await this.#media.main()
    const transport = await router.createPipeTransport({ listenInfo: listenInfo(), enableSctp: false, enableRtx: true, enableSrtp: true })
    const id: PipeId = { roomId: this.#media.roomId, from: nodeId, epoch: nextEpoch() }
    const pipe: Pipe = { id, transport, isOpen: false, bytes: 0, flowedAt: performance.now(), atSource: undefined }
    this.#pipe = pipe
    if (this.#closing.signal.aborted) return this.#drop()
    transport.observer.once('close', () => {
      // The worker died.
      if (this.#pipe !== pipe) return
      this.#drop()
      this.#run()
    })
    const { ip, port, srtpParameters, voices } = await cluster.ask(this.#source, 'relay:want', { ...id, ...endOf(transport), voices: wanted }, requestMs)
    // The worker may have died during the request.
    if (this.#pipe !== pipe) return
    await transport.connect({ ip, port, ...(srtpParameters ? { srtpParameters } : {}) })
    pipe.isOpen = true
    await this.#receive(transport, voices)
  }

  async #receive (transport: types.PipeTransport, voices: readonly PipedVoice[]): Promise<void> {
    await Promise.all(voices.map(async ({ producerId, rtpParameters }) => {
      const voice = this.#wanted.get(producerId)
      if (!voice || this.#received.has(producerId)) return
      const { node, paused, source, userId, userKey } = voice
      const producer = await transport.produce({ id: producerId, kind: 'audio', rtpParameters, paused, appData: { source } })
      const added = this.#media.addRelayed(producer, { userId, userKey, nodeId: node, kind: 'relay' }, source, paused)
      this.#received.set(producerId, added)
      producer.observer.once('close', () => {
        if (this.#received.get(producerId) === added) this.#received.delete(producerId)
        if (!this.#closing.signal.aborted && this.#wanted.has(producerId)) this.#context.lost(producerId)
      })
      const now = this.#wanted.get(producerId)
      if (!now || this.#pipe?.transport !== transport) return added.close()
      this.#setPaused(added, now.paused)
      this.#media.announceRelayed(added)
    }))
    this.#context.fetched()
  }
}
