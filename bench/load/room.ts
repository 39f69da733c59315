import { createHistogram } from 'node:perf_hooks'
import { asFailure, Failure } from './failure.ts'
import type { Failures } from './failure.ts'
import type { LoadOptions } from './options.ts'
import { joinListener, joinSpeaker } from './participant.ts'
import type { Listener, Participant } from './participant.ts'
import type { Counts } from './reception.ts'
import { percentilesOf } from './statistics.ts'
import type { Percentiles } from './statistics.ts'
import type { SignallingEvent } from './signalling.ts'
import { speech } from './speech.ts'
import type { Pacer } from './speech.ts'

/**
 * The values that the participants of a room measured. Times are in milliseconds; undefined if nothing was measured.
 */
export interface RoomReport {
  /** Id of the room; `total` in the report on all rooms. */
  roomId: string
  speakers: { planned: number, joined: number }
  listeners: { planned: number, joined: number }
  /** Time from the start of the connection to the join reply. */
  joinMs: Percentiles | undefined
  /** Set-up time of a listener: from `transport:create` until the transport is connected and all consumers exist. */
  setUpMs: Percentiles | undefined
  /** The highest number of round trips in any listener's set-up. */
  setUpRoundTrips: number
  /** Packets received per second, summed over all listeners, during the measurement. */
  packetsPerSecond: number
  /** Packet counts, summed over all streams and listeners, since the listeners joined. */
  packets: { expected: number, lost: number, late: number }
  /** Fraction of lost packets, 0 to 1. */
  loss: number
  /** Fraction of packets that a player would have to conceal because they are lost or late, 0 to 1. */
  concealment: number
  /** The longest time for which a stream had no packet. */
  longestGapMs: number
  /** Time from the start of the connection to the first packet of audio. */
  firstAudioMs: Percentiles | undefined
  /** Number of listeners that received no audio. */
  silent: number
  /** Time from sending a chat message until a member receives it. Undefined if the `chat` feature is off. */
  eventDelayMs: Percentiles | undefined
}

/** To measure the delay of events, a chat message is sent at this interval, in milliseconds. */
const probeMs = 1100
/** Maximum number of chat messages whose send times are stored. */
const maxProbes = 100
const probeText = /^load test (\d+)$/
const microseconds = 1000

/** One room of a load test: its participants and their measurements. */
export class LoadRoom {
  readonly roomId: string
  readonly #options: LoadOptions
  readonly #failures: Failures
  readonly #speakers: Participant[] = []
  readonly #listeners: Listener[] = []
  /** Send time of each chat message, by message number. */
  readonly #probes = new Map<number, number>()
  readonly #eventDelays = createHistogram()
  #nextProbe = 0
  #timer: NodeJS.Timeout | undefined
  #receivedBefore = 0

  constructor (roomId: string, options: LoadOptions, failures: Failures) {
    this.roomId = roomId
    this.#options = options
    this.#failures = failures
  }

  /** Number of joined participants. */
  get joined (): number {
    return this.#speakers.length + this.#listeners.length
  }

  /** @throws Failure */
  async addSpeaker (token: string, seatIndex: number, pacer: Pacer): Promise<void> {
    const speaker = await joinSpeaker({ url: this.#options.url, token, roomId: this.roomId, seatIndex, speech: speech(seatIndex), pacer })
    this.#speakers.push(speaker)
    this.#watch(speaker)
  }

  /** @throws Failure */
  async addListener (token: string): Promise<void> {
    const listener = await joinListener({ url: this.#options.url, token, roomId: this.roomId, receives: [this.#options.mode] })
    this.#listeners.push(listener)
    this.#watch(listener)
  }

  /** The packet counts so far, summed over all listeners. */
  counts (): Counts {
    const sum = { expected: 0, received: 0, late: 0 }
    for (const { streams } of this.#listeners) {
      for (const { counts: { expected, received, late } } of streams.values()) {
        sum.expected += expected
        sum.received += received
        sum.late += late
      }
    }
    return sum
  }

  /** Begins to measure the packets per second and the delay of events. */
  startMeasuring (): void {
    this.#receivedBefore = this.counts().received
    this.#timer = setInterval(() => { this.#probe() }, probeMs)
    this.#probe()
  }

  /** @param elapsedMs the time since {@link startMeasuring} */
  report (elapsedMs: number): RoomReport {
    return reportOn(this.roomId, [this], elapsedMs)
  }

  /** @returns the report on all participants of the rooms */
  static total (rooms: readonly LoadRoom[], elapsedMs: number): RoomReport {
    return reportOn('total', rooms, elapsedMs)
  }

  close (): void {
    clearInterval(this.#timer)
    for (const participant of [...this.#speakers, ...this.#listeners]) participant.close()
  }

  /** The measured values from which {@link reportOn} creates the report. */
  get figures () {
    return {
      options: this.#options,
      speakers: this.#speakers,
      listeners: this.#listeners,
      counts: this.counts(),
      receivedBefore: this.#receivedBefore,
      eventDelays: this.#eventDelays
    }
  }

  #watch ({ signalling }: Participant): void {
    signalling.onLost((failure) => this.#failures.record(failure))
    signalling.onEvent((event) => {
      if (event.type === 'chat:message') this.#probeArrived(event)
      if (event.type === 'media:reset') this.#failures.record(new Failure('MEDIA_RESET', `The media worker of room ${this.roomId} died`))
      if (event.type === 'room:closed') this.#failures.record(new Failure('ROOM_CLOSED', `Room ${this.roomId} was closed: ${String(event.data.reason)}`))
    })
  }

  /**
   * Sends a chat message. The participants of the room take turns, because the server limits the chat messages of each
   * user.
   */
  #probe (): void {
    const participants = [...this.#speakers, ...this.#listeners]
    const number = this.#nextProbe++
    const sender = participants[number % participants.length]
    if (!sender) return
    this.#probes.set(number, performance.now())
    this.#probes.delete(number - maxProbes)
    sender.signalling.request('chat:message', { content: `load test ${number}` }).catch((error: unknown) => {
      const { code } = asFailure(error)
      if (code === 'FEATURE_DISABLED') clearInterval(this.#timer)
      // A lost connection has already been recorded as a failure.
      else if (code !== 'DISCONNECTED') this.#failures.record(error)
    })
  }

  #probeArrived ({ data }: SignallingEvent): void {
    const number = probeText.exec(String(data.content))?.[1]
    const sentAt = this.#probes.get(Number(number))
    if (sentAt !== undefined) this.#eventDelays.record(Math.max(1, Math.round((performance.now() - sentAt) * microseconds)))
  }
}

function reportOn (roomId: string, rooms: readonly LoadRoom[], elapsedMs: number): RoomReport {
  const now = performance.now()
  const figures = rooms.map((room) => room.figures)
  const speakers = figures.flatMap(({ speakers }) => speakers)
  const listeners = figures.flatMap(({ listeners }) => listeners)
  const sum = (value: (figure: LoadRoom['figures']) => number) => figures.reduce((total, figure) => total + value(figure), 0)
  const [expected, received, late] = [sum(({ counts }) => counts.expected), sum(({ counts }) => counts.received), sum(({ counts }) => counts.late)]
  const eventDelays = createHistogram()
  for (const figure of figures) eventDelays.add(figure.eventDelays)
  const firstAudio = listeners.map(({ firstAudioMs }) => firstAudioMs).filter((ms) => ms !== undefined)
  return {
    roomId,
    speakers: { planned: sum(({ options }) => options.speakers), joined: speakers.length },
    listeners: { planned: sum(({ options }) => options.listeners), joined: listeners.length },
    joinMs: percentilesOf([...speakers, ...listeners].map(({ joinMs }) => joinMs)),
    setUpMs: percentilesOf(listeners.map(({ setUpMs }) => setUpMs)),
    setUpRoundTrips: Math.max(0, ...listeners.map(({ setUpRoundTrips }) => setUpRoundTrips)),
    packetsPerSecond: (received - sum(({ receivedBefore }) => receivedBefore)) / elapsedMs * 1000,
    packets: { expected, lost: expected - received, late },
    loss: expected === 0 ? 0 : (expected - received) / expected,
    concealment: expected === 0 ? 0 : (expected - received + late) / expected,
    longestGapMs: listeners.reduce((longest, { streams }) => Math.max(longest, ...[...streams.values()].map((stream) => stream.longestGapMs(now))), 0),
    firstAudioMs: percentilesOf(firstAudio),
    silent: listeners.length - firstAudio.length,
    eventDelayMs: eventDelays.count === 0 ? undefined : { p50: eventDelays.percentile(50) / microseconds, p95: eventDelays.percentile(95) / microseconds }
  }
}
