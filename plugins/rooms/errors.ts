import createError from '@fastify/error'

export { RoomNotFound } from '../store/errors.ts'
export const NotInRoom = createError('NOT_IN_ROOM', 'You are not in %s', 403)
