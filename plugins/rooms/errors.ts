import createError from '@fastify/error'
import { withDetails } from '../errors/codes.ts'

export { RoomNotFound } from '../store/errors.ts'
export const RoleLimit = createError('ROLE_LIMIT', 'The room already has the maximum of %s admins', 409)
export const CannotTargetSelf = createError('CANNOT_TARGET_SELF', 'You cannot do this to yourself', 400)
export const NotInRoom = createError('NOT_IN_ROOM', '%s', 403)

/** @param roomId the room id in the request; undefined if the request contains none */
export function notInRoom (roomId?: string) {
  return new NotInRoom(roomId === undefined ? 'You are not in a room' : `You are not in room ${roomId}`)
}

/** @param limit maximum number of admins per room */
export function roleLimit (limit: number) {
  return withDetails(new RoleLimit(limit), { limit })
}

export const meanings = {
  ROLE_LIMIT: 'The room already has the maximum number of admins. details: {limit}',
  NOT_IN_ROOM: 'Either you are not in the room, or the user in the request is not in the room'
}
