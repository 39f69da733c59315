import { createBackend } from '../../test/support/backend.ts'
import type { Backend } from '../../test/support/backend.ts'

/** Owns rooms of which nobody has asked yet. No user is called so. */
const nobody = 'nobody'
const rolePath = /\/rooms\/([^/]+)\/members\/([^/]+)\/role$/
const statusPath = /\/rooms\/([^/]+)\/status$/

/**
 * A backend that knows every room: those given, with their owners, and any
 * other one as well, which belongs to the first user who comes into it. The contract's
 * question for a room does not say who asks; that for a user's rights in it, which follows, does.
 *
 * @param owners by room
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
      // A room that is over is whoever's who comes next.
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
