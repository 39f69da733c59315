import type { FastifyInstance } from 'fastify'
import { createCommit } from './state/commit.ts'
import type { CommitOptions } from './state/commit.ts'
import { createStateDelivery } from './state/delivery.ts'
import type { StateDelivery } from './state/delivery.ts'
import { createKnownStates } from './state/known.ts'
import { createStateRecovery } from './state/recovery.ts'
import type { StateRecovery } from './state/recovery.ts'
import type { LocalRoom } from './local-room.ts'

/** An event that everyone in the room receives with a change. `roomId` is added to its data. */
export interface RoomEvent {
  type: string
  data: object
}

/** The outcome of a decision. */
export interface Decision<S, R> {
  /** The new state; left out when it stays as it is. */
  state?: S
  /** Published to the room with the change, in this order. */
  events?: readonly RoomEvent[]
  /** When the state must be looked at again, epoch milliseconds: the job `document:<name>`. */
  wakeAt?: number | undefined
  result: R
}

/** Decides on a change of the current state. Pure: it is called again when another server's change came first. */
export type Decide<S, R> = (state: S | undefined) => Decision<S, R>

/**
 * Shared per-room state (seats, for example), updated by compare-and-set. A
 * change is one decision on the current state. It takes effect on all servers or
 * on none, and all servers and members receive changes in the order in which they were made.
 */
export interface RoomState {
  /** The latest state that this server has received, without a round trip; only of rooms with members here. */
  peek<S> (roomId: string, name: string): S | undefined
  /**
   * Changes the state: in one round trip when this server has members in the room
   * and no other server changes it at the same time.
   *
   * @returns the decision's result
   * @throws what `decide` throws on the current state; ROOM_NOT_FOUND; UNAVAILABLE
   */
  change<S, R> (roomId: string, name: string, decide: Decide<S, R>): Promise<R>
}

declare module '../hooks.ts' {
  interface KernelHooks {
    /** State of a room with members here has changed, or was dropped. Called once per version, before its events are delivered. */
    'room:state': (room: LocalRoom, name: string, state: unknown) => void
    /**
     * Members here have missed changes. The feature that owns the state sends, synchronously,
     * the events that lead from one state to the other. Undefined: there is no state.
     */
    'room:stateMissed': (room: LocalRoom, name: string, from: unknown, to: unknown, send: (events: readonly RoomEvent[]) => void) => void
  }
}

/** What the rooms plugin needs besides {@link RoomState}. */
export interface RoomStateKernel extends RoomState, Pick<StateDelivery, 'applyRemote' | 'afterReply'>, StateRecovery {
  /** The room has no members here any more. */
  forget (roomId: string): void
}

export function createRoomState (app: FastifyInstance, options: Omit<CommitOptions, 'known'>): RoomStateKernel {
  const known = createKnownStates(app.hooks)
  const change = createCommit(app, { ...options, known })
  const { sendMissed, ...delivery } = createStateDelivery(app, known)
  const recovery = createStateRecovery(app, known, { ...delivery, sendMissed }, options.unsynced)
  return {
    peek: <S>(roomId: string, name: string) => known.get(roomId, name)?.state as S | undefined,
    change: <S, R>(roomId: string, name: string, decide: Decide<S, R>) => change(roomId, name, decide as Decide<unknown, unknown>) as Promise<R>,
    ...delivery,
    ...recovery,
    forget: known.forget
  }
}
