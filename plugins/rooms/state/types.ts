import type { LocalRoom } from '../node-rooms.ts'

/** An event that all members of a room receive when the room's state changes. `roomId` is added to the event's data. */
export interface RoomEvent {
  type: string
  data: object
}

/** The result of a {@link Decide} function. */
export interface Decision<S, R> {
  /** The new state; if omitted, nothing changes. */
  state?: S
  /** The events to publish with the change, in this order. */
  events?: readonly RoomEvent[]
  /** The time when the state must be checked again, in epoch milliseconds; see {@link RoomStateHandle.onWake}. */
  wakeAt?: number | undefined
  result: R
}

/**
 * Decides how to change the current state. The function must be pure, because it is called again if another server has
 * changed the state first.
 */
export type Decide<S, R> = (state: S | undefined) => Decision<S, R>

/**
 * One named part of a room's shared state (the seats, for example), updated by compare-and-set. Each change is one
 * decision on the current state, and takes effect on all servers or on none. All servers and members receive changes in
 * the same order.
 */
export interface RoomStateHandle<S> {
  readonly name: string
  /**
   * Returns the latest state that this server has received. Takes no round trip to the store. Works only for rooms with
   * members on this server.
   */
  peek (roomId: string): S | undefined
  /**
   * Reads the state from the store.
   *
   * @returns undefined if there is no state or no such room
   * @throws INTERNAL if the state does not match the schema
   * @throws UNAVAILABLE
   */
  read (roomId: string): Promise<S | undefined>
  /**
   * Reads the state of several rooms in one round trip.
   *
   * @returns one entry per room; undefined if there is no state, or if the state does not match the schema
   * @throws UNAVAILABLE
   */
  readMany (roomIds: readonly string[]): Promise<(S | undefined)[]>
  /**
   * Changes the state. Takes only one round trip to the store if this server has members in the room and no other
   * server changes the state at the same time.
   *
   * @returns the decision's result
   * @throws the error that `decide` throws for the current state
   * @throws INTERNAL, without changing the state, if the stored state does not match the schema
   * @throws ROOM_NOT_FOUND, UNAVAILABLE
   */
  change<R> (roomId: string, decide: Decide<S, R>): Promise<R>
  /**
   * Calls `fn` once per version of the state in rooms with members on this server, before the version's events are
   * delivered. `state` is undefined if the state no longer exists.
   */
  onChange (fn: (room: LocalRoom, state: S | undefined) => void): void
  /**
   * Calls `fn` when members on this server have missed changes of the state.
   *
   * @param fn returns the events that turn `from` into `to`. `from` is undefined if the state did not exist before;
   *   `to` is undefined if the state no longer exists
   */
  onMissed (fn: (room: LocalRoom, from: S | undefined, to: S | undefined) => readonly RoomEvent[]): void
  /**
   * Schedules a call of the `onWake` handler, as {@link Decision.wakeAt} does. If several times are scheduled, the
   * earliest applies.
   *
   * @param at epoch milliseconds
   * @throws UNAVAILABLE
   */
  wakeAt (roomId: string, at: number): Promise<void>
  /**
   * Calls `fn` on one server at the scheduled time, to check the state. If the store loses the scheduled time, `fn` is
   * called after the recovery. If `fn` fails, it is called again a second later.
   */
  onWake (fn: (roomId: string) => Promise<void>): void
}

export interface StateOptions<S = unknown> {
  /**
   * True if the state survives a server restart even without Redis, as the room itself does. If this option is a
   * function, only the part of the state that the function returns survives, and changes to other parts are not written
   * to disk. With Redis, all of the state survives. Default: false.
   */
  durable?: boolean | ((state: S) => S)
  /**
   * True if the state is allowed to change during the three seconds in which servers restore a room that the store has
   * lost. Such a change may be based on an outdated version. Set this only if each server replaces its own part of the
   * state whenever that part is missing or outdated. Default: false.
   */
  changesDuringRestore?: boolean
}
