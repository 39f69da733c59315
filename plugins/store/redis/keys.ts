import { nodeKey } from '../../cluster/leases.redis.ts'

export const roomsKey = 'msab:rooms'
export const emptyRoomsKey = 'msab:rooms:empty'

export const roomKey = (roomId: string) => `msab:room:{${roomId}}`
/** All keys that are removed with a room. */
export const roomKeys = (roomId: string) => {
  const key = roomKey(roomId)
  return [key, usersKey(roomId), profilesKey(roomId), `${key}:refs`, `${key}:sessions`, documentsKey(roomId), logKey(roomId)]
}
export const usersKey = (roomId: string) => `${roomKey(roomId)}:users`
export const profilesKey = (roomId: string) => `${roomKey(roomId)}:profiles`
export const documentsKey = (roomId: string) => `${roomKey(roomId)}:docs`
export const logKey = (roomId: string) => `${roomKey(roomId)}:log`
export const closedKey = (roomId: string) => `${roomKey(roomId)}:closed`
export const banKey = (roomId: string, userKey: string) => `${roomKey(roomId)}:ban:${userKey}`
export const wrongPinsKey = (roomId: string, userKey: string) => `${roomKey(roomId)}:pin:${userKey}`
export const nodeRoomsKey = (nodeId: string) => `${nodeKey(nodeId)}:rooms`

/** A session as a field of the room's hash of sessions. */
export const sessionField = (nodeId: string, sessionId: string) => `${nodeId} ${sessionId}`
