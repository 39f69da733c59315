import type { FastifyInstance } from 'fastify'
import { createEvent } from '../../connections/event.ts'
import { unavailable } from '../../errors/codes.ts'
import { channelOf, stateMessage } from '../channel.ts'
import type { NodeRooms } from '../node-rooms.ts'
import { changeAndPublish } from '../publish.ts'
import type { Unsynced } from '../unsynced.ts'
import type { KnownStates } from './known.ts'
import type { Decide, RoomEvent } from './types.ts'
import { epochOf, following, isNewer } from './version.ts'

/** A version that no state has: the store returns the one there is. */
const noVersion = '?'
/** Attempts before a change is given up. Each failed attempt means that another server's change succeeded. */
const maxAttempts = 100

/** The job that `Decision.wakeAt` schedules. */
export const wakeJob = (name: string) => `document:${name}`

interface Command {
  decide: Decide<unknown, unknown>
  answer: PromiseWithResolvers<unknown>
}

export interface CommitOptions {
  nodeRooms: NodeRooms
  known: KnownStates
  unsynced: Unsynced
}

/**
 * Changes room state by compare-and-set. Changes that come in while one is in
 * flight wait in a queue, and are decided together in the next round trip.
 *
 * @returns a function that changes state; see `RoomStateHandle.change`
 */
export function createCommit ({ bus, jobs, store }: Pick<FastifyInstance, 'bus' | 'jobs' | 'store'>, { nodeRooms, known, unsynced }: CommitOptions) {
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
    const local = known.get(roomId, name)
    let createdAt = nodeRooms.get(roomId)?.record.createdAt
    let version = local?.version ?? ''
    let state = local?.state
    let least = 1
    // Without members here nothing is known of the room: the first attempt reads.
    let decides = local !== undefined || createdAt !== undefined
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const outcome = decides ? decideAll(batch, state) : undefined
      const changed = outcome !== undefined && outcome.state !== state
      const next = changed ? { version: following(version, createdAt ?? 0, least), state: JSON.stringify(outcome.state) } : undefined
      const message = next && stateMessage(name, next.version, next.state, version, outcome?.events.map(({ type, data }) => createEvent(type, { roomId, ...data })) ?? [])
      const before = known.get(roomId, name)?.version ?? ''
      // Sent together: one round trip. A job without a change does no harm; a change without its job would.
      const [result] = await Promise.all([
        changeAndPublish(
          bus, channelOf(roomId), message,
          (publish) => store.swapDocument({ roomId, name, expected: decides ? version : noVersion, next, publish }),
          ({ swapped }) => swapped ? message : undefined
        ),
        changed && outcome.wakeAt !== undefined ? jobs.schedule(wakeJob(name), roomId, outcome.wakeAt) : undefined
      ])
      if (result.swapped && outcome) {
        const room = nodeRooms.get(roomId)
        if (next && room) known.update(room, name, next.version, outcome.state)
        for (const settle of outcome.settle) settle()
        return
      }
      if (!result.swapped) {
        // The store had the version that this server knows: nothing may be decided without it.
        if (epochOf(before) === String(result.createdAt) && isNewer(before, result.document?.version ?? '')) {
          unsynced.add(roomId)
          throw unavailable('The store has lost the latest state of this room')
        }
        createdAt = result.createdAt
        least = result.least ?? 1
        version = result.document?.version ?? ''
        state = result.document === undefined ? undefined : JSON.parse(result.document.state)
        decides = true
      }
    }
    throw unavailable('Too many change this room at once')
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

/** Decides on several commands, one after the other. */
function decideAll (batch: readonly Command[], from: unknown) {
  const events: RoomEvent[] = []
  const settle: (() => void)[] = []
  let state = from
  let wakeAt: number | undefined
  for (const { decide, answer } of batch) {
    try {
      const decision = decide(state)
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
