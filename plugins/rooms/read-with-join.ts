import type { Session } from '../connections/session.ts'
import type { HookRegistrar } from '../hooks.ts'
import type { RoomRecord } from '../store/types.ts'
import type { LocalRoom } from './node-rooms.ts'

/**
 * Reads the data that a feature adds to join replies. Sends the read together with the join, so that both need only one
 * round trip to the store.
 *
 * @param read called with the room; its result must not depend on the session
 * @returns a function to call in the `room:join` hook. It returns the result of the earlier read; if there was none, it
 *   reads now
 */
export function readWithJoin<T> (hooks: HookRegistrar, read: (room: RoomRecord) => Promise<T>): (room: LocalRoom, session: Session) => Promise<T> {
  const reads = new WeakMap<Session, { createdAt: number, result: Promise<T> }>()
  hooks.on('room:joining', ({ record }, session, mayRead) => {
    // An earlier join by this session may have failed and left its read behind.
    reads.delete(session)
    if (!mayRead) return
    const result = read(record)
    result.catch(() => { /* The `room:join` handler receives the error, if the join succeeds. */ })
    reads.set(session, { createdAt: record.createdAt, result })
  })
  return async ({ record }, session) => {
    const early = reads.get(session)
    reads.delete(session)
    // The room may have been closed and created again in the meantime.
    return await (early?.createdAt === record.createdAt ? early.result : read(record))
  }
}
