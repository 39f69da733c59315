import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import type { z } from 'zod'
import { createEvent } from '../../connections/face.ts'
import { Internal, unavailable } from '../../errors/codes.ts'
import type { HookRegistrar } from '../../hooks.ts'
import type { JobsRegistrar } from '../../jobs/runner.ts'
import type { StateStore } from '../../store/store.ts'
import { changeAndPublish, channelOf, stateMessage, withVersion } from '../channel.ts'
import type { NodeRooms } from '../node-rooms.ts'
import type { Unsynced } from '../sync.ts'
import { epochOf, isNewer, versionZero } from './delivery.ts'
import type { KnownStates, Versioned } from './delivery.ts'
import type { Decide, RoomEvent, RoomStateHandle, StateOptions } from './types.ts'

/**
 * A placeholder that matches no stored version. A compare-and-set that expects this version fails and returns the
 * current version.
 */
const unknown = '?'
/**
 * Maximum attempts per change. An attempt fails if another server changed the state in the meantime, or if this server
 * did not have the current version.
 */
const maxAttempts = 100

/** The job that `Decision.wakeAt` schedules. */
export const wakeJob = (name: string) => `document:${name}`

interface Command {
  decide: Decide<unknown, unknown>
  answer: PromiseWithResolvers<unknown>
}

export interface CommitOptions {
  nodeRooms: NodeRooms
  states: KnownStates
  unsynced: Unsynced
  /** Returns the options of the state's current definition. */
  optionsOf (name: string): StateOptions
}

/**
 * Changes room state by compare-and-set. Changes that arrive while another change is in flight are queued, and then
 * sent to the store together in one round trip.
 *
 * @returns a function that changes state; see `RoomStateHandle.change`
 */
export function createCommit ({ bus, jobs, messages, store }: Pick<FastifyInstance, 'bus' | 'jobs' | 'messages' | 'store'>, { nodeRooms, states, unsynced, optionsOf }: CommitOptions) {
  const queues = new Map<string, Command[]>()

  async function drain (roomId: string, name: string, queue: Command[]): Promise<void> {
    while (queue.length > 0) {
      const batch = queue.splice(0)
      try {
        await commit(roomId, name, batch)
      } catch (error) {
        for (const { answer } of batch) answer.reject(error)
      }
    }
    queues.delete(`${name} ${roomId}`)
  }

  async function commit (roomId: string, name: string, batch: readonly Command[]): Promise<void> {
    let { version, state } = latest(roomId, name)
    const check = (events: readonly RoomEvent[]) => {
      for (const { type, data } of events) messages.checkEvent(type, { roomId, ...data })
    }
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const outcome = version === unknown ? undefined : decideAll(batch, state, check)
      const next = outcome && outcome.state !== state ? JSON.stringify(outcome.state) : undefined
      const { durable = false, changesDuringRestore = false } = optionsOf(name)
      const kept = outcome && next !== undefined && durable !== false ? JSON.stringify(durable === true ? outcome.state : durable(outcome.state)) : undefined
      const message = next && stateMessage({ name, state: next, from: state === undefined ? '' : version }, outcome?.events.map(({ type, data }) => createEvent(type, { roomId, ...data })) ?? [])
      const known = latest(roomId, name).version
      // Send the change and its wake-up job at the same time. A job without its change is harmless, but without the
      // job, nothing would check the changed state at the scheduled time.
      const [result] = await Promise.all([
        changeAndPublish(
          bus, channelOf(roomId), message,
          (publish) => store.swapDocument({ roomId, name, expected: version, state: next, kept, publish, duringRestore: changesDuringRestore }),
          (result) => result.swapped ? withVersion(message, result.version) : undefined
        ),
        next !== undefined && outcome?.wakeAt !== undefined ? jobs.schedule(wakeJob(name), roomId, outcome.wakeAt) : undefined
      ])
      if (result.swapped && outcome) {
        const room = nodeRooms.get(roomId)
        if (next !== undefined && room) states.update(room, name, result.version, outcome.state)
        for (const settle of outcome.settle) settle()
        return
      }
      if (!result.swapped) {
        // The store has lost the version that this server has. A change must not be based on an older version.
        if (epochOf(known) === epochOf(result.version) && isNewer(known, result.version)) {
          unsynced.add(roomId)
          throw unavailable('The store has lost the latest state of this room')
        }
        version = result.version
        state = result.state === undefined ? undefined : JSON.parse(result.state)
      }
    }
    throw unavailable('Too many concurrent changes to this room')
  }

  /**
   * The latest version that this server has received. If the room has no members on this server, no version is known,
   * and the first attempt only reads the version from the store.
   */
  function latest (roomId: string, name: string): Versioned {
    const known = states.get(roomId, name)
    if (known && known.version !== '') return known
    const room = nodeRooms.get(roomId)
    return { version: room ? versionZero(room.record.createdAt) : unknown, state: undefined }
  }

  return function change (roomId: string, name: string, decide: Decide<unknown, unknown>): Promise<unknown> {
    const answer = Promise.withResolvers<unknown>()
    const key = `${name} ${roomId}`
    const waiting = queues.get(key)
    const queue = waiting ?? []
    queue.push({ decide, answer })
    if (!waiting) {
      queues.set(key, queue)
      drain(roomId, name, queue)
    }
    return answer.promise
  }
}

/**
 * Runs the decisions of several commands. Each decision receives the state that the previous decision returned.
 *
 * @param check validates a decision's events; throws to reject the decision
 */
function decideAll (batch: readonly Command[], from: unknown, check: (events: readonly RoomEvent[]) => void) {
  const events: RoomEvent[] = []
  const settle: (() => void)[] = []
  let state = from
  let wakeAt: number | undefined
  for (const { decide, answer } of batch) {
    try {
      const decision = decide(state)
      check(decision.events ?? [])
      state = decision.state ?? state
      events.push(...decision.events ?? [])
      wakeAt = decision.wakeAt === undefined ? wakeAt : Math.min(wakeAt ?? Infinity, decision.wakeAt)
      settle.push(() => answer.resolve(decision.result))
    } catch (error) {
      settle.push(() => answer.reject(error))
    }
  }
  return { state, events, wakeAt, settle }
}

/** Registers the handlers of a state definition. Unloading the feature removes the handlers. */
export interface StateRegistrars {
  hooks: HookRegistrar
  jobs: JobsRegistrar
}

export interface StateEngine {
  states: Pick<KnownStates, 'get'>
  change: ReturnType<typeof createCommit>
  store: Pick<StateStore, 'readDocuments'>
  log: Pick<FastifyBaseLogger, 'error'>
}

/** Parses stored state. Each version is parsed once, so that all readers of a version get the same object. */
function createParser<S> (name: string, schema: z.ZodType<S>, log: StateEngine['log']) {
  const parsed = new WeakMap<object, z.ZodSafeParseResult<S>>()

  function resultOf (roomId: string, raw: unknown): z.ZodSafeParseResult<S> {
    const known = typeof raw === 'object' && raw !== null ? parsed.get(raw) : undefined
    if (known) return known
    const result = schema.safeParse(raw)
    if (typeof raw === 'object' && raw !== null) parsed.set(raw, result)
    if (!result.success) log.error({ err: result.error, roomId, state: name }, 'stored room state does not match its schema')
    return result
  }

  return {
    /** @returns undefined if the state does not match the schema */
    valid: (roomId: string, raw: unknown): S | undefined => raw === undefined ? undefined : resultOf(roomId, raw).data,
    /** @throws INTERNAL if the state does not match the schema */
    parse (roomId: string, raw: unknown): S | undefined {
      if (raw === undefined) return
      const result = resultOf(roomId, raw)
      if (!result.success) throw Object.assign(new Internal(), { cause: result.error })
      return result.data
    },
    /** Caches a state that a decision has returned, so that this state is never parsed. */
    trust (state: S): void {
      if (typeof state === 'object' && state !== null) parsed.set(state, { success: true, data: state })
    }
  }
}

/** Creates the typed handle for one definition of room state; see `RoomState.define`. */
export function createHandle<S> (name: string, schema: z.ZodType<S>, { states, change, store, log }: StateEngine, { hooks, jobs }: StateRegistrars): RoomStateHandle<S> {
  const parser = createParser(name, schema, log)
  const readRaw = async (roomIds: readonly string[]): Promise<unknown[]> =>
    (await store.readDocuments(roomIds, name)).map((text) => text === undefined ? undefined : JSON.parse(text))

  return {
    name,
    read: async (roomId) => parser.parse(roomId, (await readRaw([roomId]))[0]),
    readMany: async (roomIds) => (await readRaw(roomIds)).map((raw, i) => parser.valid(roomIds[i] as string, raw)),
    peek: (roomId) => parser.valid(roomId, states.get(roomId, name)?.state),
    change: <R>(roomId: string, decide: Decide<S, R>) => change(roomId, name, (raw) => {
      const state = parser.parse(roomId, raw)
      const { state: next, ...decision } = decide(state)
      if (next === undefined || next === state) return decision
      parser.trust(next)
      return { ...decision, state: next }
    }) as Promise<R>,
    onChange (fn) {
      hooks.on(`room:state:${name}`, (room, raw) => {
        const state = parser.valid(room.roomId, raw)
        if (state !== undefined || raw === undefined) fn(room, state)
      })
    },
    onMissed (fn) {
      hooks.on('room:stateMissed', (room, missed, from, to, send) => {
        if (missed !== name) return
        const state = parser.valid(room.roomId, to)
        if (state !== undefined || to === undefined) send(fn(room, parser.valid(room.roomId, from), state))
      })
    },
    wakeAt: (roomId, at) => jobs.schedule(wakeJob(name), roomId, at),
    onWake (fn) {
      jobs.on(wakeJob(name), fn)
    }
  }
}
