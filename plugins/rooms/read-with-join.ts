import type { Session } from '../connections/session.ts'
import type { HookRegistrar } from '../hooks.ts'
import type { RoomRecord } from '../store/types.ts'
import type { LocalRoom } from './node-rooms.ts'

/**
 * Reads the data that a feature adds to join replies. The read is sent to the store together with the join, so that
 * both take only one round trip.
 *
 * @param read reads the room's data, which must not depend on the session
 * @returns a function to call in the `room:join` hook. The function returns the data that was read with the join; if
 *   none was read, the function reads the data now
 */
export function readWithJoin<T> (hooks: HookRegistrar, read: (room: RoomRecord) => Promise<T>): (room: LocalRoom, session: Session) => Promise<T> {
  const reads = new WeakMap<Session, { createdAt: number, result: Promise<T> }>()
  hooks.on('room:joining', ({ record }, session, mayRead) => {
    // Discard the data that was read for an earlier join by this session, if that join failed.
    reads.delete(session)
    if (!mayRead) return
    const result = read(record)
    result.catch(() => { /* If the join succeeds, the `room:join` handler receives this error. */ })
    reads.set(session, { createdAt: record.createdAt, result })
  })
  return async ({ record }, session) => {
    const early = reads.get(session)
    reads.delete(session)
    // The room may have been closed and created again since the read.
    return await (early?.createdAt === record.createdAt ? early.result : read(record))
  }
}
