import { createBackend } from '../../test/support/backend.ts'
import type { Backend } from '../../test/support/backend.ts'

/** Placeholder owner of a room until the room's first user is known. No user has this id. */
const nobody = 'nobody'
const rolePath = /\/rooms\/([^/]+)\/members\/([^/]+)\/role$/
const statusPath = /\/rooms\/([^/]+)\/status$/

/**
 * Starts a backend with the rooms and owners in `owners`. Every other room also exists and belongs to the first user
 * who joins it. In the backend's API, a request for a room contains no user id, so this backend takes the owner from
 * the role request that follows.
 *
 * @param owners the user ids of the owners, by room id
 */
export async function startDemoBackend (owners: ReadonlyMap<string, number>): Promise<Backend> {
  const backend = await createBackend({
    extra ({ rooms, roles }, { method, path, body }) {
      const [, roomId = '', userId = ''] = (rolePath.exec(path) ?? statusPath.exec(path) ?? []).map(decodeURIComponent)
      if (owners.has(roomId)) return
      if (method === 'GET' && userId !== '' && !rooms.has(roomId)) {
        rooms.set(roomId, userId)
        roles.set(`${roomId}/${userId}`, 'owner')
      }
      // When a room is closed, forget its owner: the next user who joins it becomes the owner.
      if (statusPath.test(path) && (body as { is_live?: unknown }).is_live === false) {
        roles.delete(`${roomId}/${rooms.get(roomId) ?? ''}`)
        rooms.delete(roomId)
      }
      return undefined
    }
  })
  for (const [roomId, owner] of owners) backend.rooms.set(roomId, owner)
  backend.everyRoom = () => nobody
  return backend
}
