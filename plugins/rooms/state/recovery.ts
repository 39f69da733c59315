import type { FastifyInstance } from 'fastify'
import type { StoredDocument } from '../../store/types.ts'
import type { LocalRoom } from '../node-rooms.ts'
import type { Unsynced } from '../sync.ts'
import { epochOf, isNewer } from './delivery.ts'
import type { KnownStates, StateDelivery, Versioned } from './delivery.ts'
import { wakeJob } from './handle.ts'

/** Exchanges room state with the store when a socket joins, and when either side may have missed a change. */
export interface StateRecovery {
  /**
   * Copies the state that a join has read from the store into this server's memory.
   *
   * @returns the state that this server then has, by name, for the join reply
   */
  hydrate (room: LocalRoom, stored: ReadonlyMap<string, StoredDocument>): ReadonlyMap<string, Versioned>
  /** @returns this server's copy of a room's state, for restoring state that the store has lost */
  snapshot (roomId: string): ReadonlyMap<string, StoredDocument>
  /**
   * Copies newer state from the store, and sends members the events that they missed. Call this after a snapshot has
   * been written to the store.
   *
   * @param written the snapshot
   * @param stored the state in the store after the write
   */
  resync (room: LocalRoom, written: ReadonlyMap<string, StoredDocument>, stored: ReadonlyMap<string, StoredDocument>): Promise<void>
}

export function createStateRecovery ({ clock, jobs }: Pick<FastifyInstance, 'clock' | 'jobs'>, states: KnownStates, delivery: StateDelivery, unsynced: Unsynced): StateRecovery {
  function drop (room: LocalRoom, name: string): void {
    const dropped = states.reset(room, name)
    if (dropped.delivered.version !== '' || dropped.pendingJoiners.size > 0) delivery.sendMissed(room, name, dropped)
  }

  return {
    hydrate (room, stored) {
      for (const [name, { version }] of states.ofRoom(room.roomId)) {
        if (version !== '' && epochOf(version) !== String(room.record.createdAt)) drop(room, name)
      }
      for (const [name, { version, state }] of stored) states.update(room, name, version, JSON.parse(state))
      const snapshot = new Map<string, Versioned>()
      for (const [name, known] of states.ofRoom(room.roomId)) {
        const { version, state } = known
        snapshot.set(name, { version, state })
        // The first member receives the whole state in the join reply, so mark this version as delivered.
        if (room.members.size <= 1 && known.delivered.version === '') known.delivered = { version, state }
      }
      return snapshot
    },
    snapshot: (roomId) => new Map([...states.ofRoom(roomId)]
      .filter(([, { version }]) => version !== '')
      .map(([name, { version, state }]) => [name, { version, state: JSON.stringify(state) }])),
    async resync (room, written, stored) {
      for (const [name, { version, state }] of stored) {
        const known = states.update(room, name, version, JSON.parse(state))
        if (isNewer(known.version, known.delivered.version)) delivery.sendMissed(room, name, known)
        // If this server has a newer version than the store, the store may have lost an acknowledged change. Sync
        // again.
        if (isNewer(known.version, version)) unsynced.add(room.roomId)
      }
      for (const [name, { version }] of written) {
        // The store rejected this state because the state belongs to an earlier room. Keep a newer version that this
        // server has received since the snapshot.
        if (states.get(room.roomId, name)?.version === version && !stored.has(name)) drop(room, name)
      }
      // The store may also have lost the wake-up jobs.
      for (const name of stored.keys()) await jobs.schedule(wakeJob(name), room.roomId, clock.now())
    }
  }
}
