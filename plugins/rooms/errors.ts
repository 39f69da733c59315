import createError from '@fastify/error'

export { RoomNotFound } from '../store/errors.ts'
export const NotInRoom = createError('NOT_IN_ROOM', '%s', 403)

export const meanings = {
  NOT_IN_ROOM: 'You are not in the room, or the user in the request is not'
}
