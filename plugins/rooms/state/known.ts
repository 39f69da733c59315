import type { Session } from '../../connections/session.ts'
import type { Hooks } from '../../hooks.ts'
import type { LocalRoom } from '../local-room.ts'
import { isNewer } from './version.ts'

/** One version of a room's state. */
export interface Versioned {
  version: string
  state: unknown
}

/** This server's copy of room state of one name. */
export interface Known extends Versioned {
  /** The version that members here have, from events or from the reply to their join. */
  delivered: Versioned
  /** Members whose reply had a newer version than that: they skip events up to it. */
  pendingJoiners: Map<Session, Versioned>
}

/** Where there is no state of that name. */
export const nothing: Versioned = { version: '', state: undefined }

/** State of the rooms with members on this server. */
export interface KnownStates {
  get (roomId: string, name: string): Known | undefined
  ofRoom (roomId: string): Iterable<[name: string, known: Known]>
  /**
   * Takes over a version if it is newer.
   *
   * @returns the resulting copy
   */
  update (room: LocalRoom, name: string, version: string, state: unknown): Known
  /** Drops state that was of an earlier room of that name, or that the store has dropped. */
  reset (room: LocalRoom, name: string): Known
  forget (roomId: string): void
}

export function createKnownStates ({ emit }: Pick<Hooks, 'emit'>): KnownStates {
  const byRoom = new Map<string, Map<string, Known>>()

  function set ({ roomId }: LocalRoom, name: string, known: Known): Known {
    const states = byRoom.get(roomId) ?? new Map<string, Known>()
    byRoom.set(roomId, states.set(name, known))
    return known
  }

  return {
    get: (roomId, name) => byRoom.get(roomId)?.get(name),
    ofRoom: (roomId) => byRoom.get(roomId) ?? [],
    update (room, name, version, state) {
      const known = byRoom.get(room.roomId)?.get(name)
      if (known && !isNewer(version, known.version)) return known
      const updated = set(room, name, { version, state, delivered: known?.delivered ?? nothing, pendingJoiners: known?.pendingJoiners ?? new Map() })
      emit('room:state', room, name, state)
      return updated
    },
    reset (room, name) {
      const known = byRoom.get(room.roomId)?.get(name)
      const dropped = set(room, name, { ...nothing, delivered: known?.delivered ?? nothing, pendingJoiners: known?.pendingJoiners ?? new Map() })
      emit('room:state', room, name, undefined)
      return dropped
    },
    forget (roomId) {
      byRoom.delete(roomId)
    }
  }
}
