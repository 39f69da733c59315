import { userKeyOf } from '../connections/session.ts'
import type { RoomStore } from '../store/store.ts'
import type { Details } from './details.ts'
import type { Ownership } from './ownership.ts'
import type { Rooms } from './rooms.ts'

/** @returns a function that reads the details of rooms that a list of rooms shows; see {@link Rooms.overviewsOf} */
export function createOverviews (store: Pick<RoomStore, 'getSomeMembers'>, ownership: Pick<Ownership, 'read'>, details: Pick<Details, 'read'>): Rooms['overviewsOf'] {
  return async (rooms) => {
    const [owners, all] = await Promise.all([ownership.read(rooms), details.read(rooms)])
    const members = rooms.length > 0 ? await store.getSomeMembers(rooms.map(({ roomId }, i) => ({ roomId, first: [userKeyOf(owners[i]?.ownerId ?? '')] })), 1) : []
    return owners.map(({ ownerId, ownerName }, i) => {
      const { title = null, topic = null, isLocked = false } = all[i] ?? {}
      // If the owner is in the room, use the name in the owner's profile, because the stored name may be outdated.
      const owner = members[i]?.find(({ userId }) => userKeyOf(userId) === userKeyOf(ownerId))
      return { ownerId, hostName: typeof owner?.name === 'string' ? owner.name : ownerName ?? null, title, topic, isLocked }
    })
  }
}
