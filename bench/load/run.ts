import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import pLimit from 'p-limit'
import { Failures } from './failure.ts'
import type { FailureCount } from './failure.ts'
import type { LoadOptions } from './options.ts'
import { LoadRoom } from './room.ts'
import type { RoomReport } from './room.ts'
import { createPacer, speech } from './speech.ts'

export interface LoadReport {
  mode: LoadOptions['mode']
  /** Duration of the measurement. */
  seconds: number
  rooms: RoomReport[]
  total: RoomReport
  failures: FailureCount[]
  /**
   * The load of the load tester's own process. If this load is high, the load tester itself can delay packets and
   * events.
   */
  tester: { cpuPercent: number, eventLoopP99Ms: number }
  /** True if every participant joined and stayed, and every listener received audio. */
  ok: boolean
}

export interface Progress {
  phase: 'joining' | 'measuring'
  /** Time since the start of the test. */
  elapsedMs: number
  joined: number
  planned: number
  failed: number
  /** Packets that all listeners received per second since the previous call of `progress`. */
  packetsPerSecond: number
  /** Fraction of packets lost since the start, 0 to 1. */
  loss: number
}

export interface RunOptions {
  /** Called once per second. */
  progress?: (progress: Progress) => void
  /** Ends the test early. The report then covers the time until the abort. */
  signal?: AbortSignal
}

/** Maximum number of participants that join at the same time. */
const maxJoining = 32
const progressMs = 1000

/**
 * Runs a load test: all speakers join first, then all listeners join, and then the measurement starts.
 *
 * @throws Failure if the first speaker or the first listener cannot join. The other participants would probably fail as
 *   well
 */
export async function runLoad (options: LoadOptions, { progress, signal }: RunOptions = {}): Promise<LoadReport> {
  const { speakers, listeners, tokenOf } = options
  // Encode the recordings now: encoding them later would delay the first joins.
  for (let seat = 0; seat < speakers; seat++) speech(seat)
  const failures = new Failures()
  const rooms = Array.from({ length: options.rooms }, (_, i) => new LoadRoom(`${options.room}-${i + 1}`, options, failures))
  const pacer = createPacer()
  let phase: Progress['phase'] = 'joining'
  const stopWatching = progress && watch(progress, rooms, () => ({ phase, planned: options.rooms * (speakers + listeners), failed: failures.count }))
  try {
    let participant = 0
    // Assign the participants to the rooms round-robin so that all rooms fill evenly.
    const speakerJoins = repeat(speakers, (seat) => rooms.map((room) => () => room.addSpeaker(tokenOf(participant++), seat, pacer)))
    const listenerJoins = repeat(listeners, () => rooms.map((room) => () => room.addListener(tokenOf(participant++))))
    await joinAll(speakerJoins, options.ramp, failures, signal)
    await joinAll(listenerJoins, options.ramp, failures, signal)

    phase = 'measuring'
    const loop = monitorEventLoopDelay({ resolution: 5 })
    loop.enable()
    const [cpu, begin] = [process.cpuUsage(), performance.now()]
    for (const room of rooms) room.startMeasuring()
    await delay(options.seconds * 1000, undefined, { signal }).catch(() => { /* The test was ended early. */ })
    const elapsedMs = Math.max(1, performance.now() - begin)
    const { user, system } = process.cpuUsage(cpu)
    loop.disable()
    const total = LoadRoom.total(rooms, elapsedMs)
    return {
      mode: options.mode,
      seconds: elapsedMs / 1000,
      rooms: rooms.map((room) => room.report(elapsedMs)),
      total,
      failures: failures.list(),
      tester: { cpuPercent: (user + system) / 10 / elapsedMs, eventLoopP99Ms: loop.percentile(99) / 1e6 },
      ok: failures.count === 0 && total.silent === 0
    }
  } finally {
    stopWatching?.()
    pacer.close()
    for (const room of rooms) room.close()
  }
}

function repeat<T> (count: number, create: (index: number) => T[]): T[] {
  return Array.from({ length: count }, (_, i) => create(i)).flat()
}

/**
 * Starts `ramp` joins per second and waits until all joins have succeeded or failed.
 *
 * @throws Failure if the first join fails; failures of the other joins are only recorded
 */
async function joinAll ([first, ...others]: (() => Promise<void>)[], ramp: number, failures: Failures, signal: AbortSignal | undefined): Promise<void> {
  if (!first || signal?.aborted === true) return
  await first()
  const limit = pLimit(maxJoining)
  const begin = performance.now()
  const pending: Promise<void>[] = []
  for (const [i, join] of others.entries()) {
    const waited = await delay(Math.max(0, begin + (i + 1) * 1000 / ramp - performance.now()), true, { signal }).catch(() => false)
    if (!waited) break // The test was ended early.
    pending.push(limit(join).catch((error: unknown) => failures.record(error)))
  }
  await Promise.all(pending)
}

function watch (progress: (progress: Progress) => void, rooms: readonly LoadRoom[], rest: () => Pick<Progress, 'phase' | 'planned' | 'failed'>): () => void {
  const begin = performance.now()
  let previous = { at: begin, received: 0 }
  const timer = setInterval(() => {
    const now = performance.now()
    let [joined, expected, received] = [0, 0, 0]
    for (const room of rooms) {
      const counts = room.counts()
      joined += room.joined
      expected += counts.expected
      received += counts.received
    }
    progress({
      ...rest(),
      elapsedMs: now - begin,
      joined,
      packetsPerSecond: (received - previous.received) / (now - previous.at) * 1000,
      loss: expected === 0 ? 0 : (expected - received) / expected
    })
    previous = { at: now, received }
  }, progressMs)
  return () => clearInterval(timer)
}
