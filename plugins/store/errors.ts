import createError from '@fastify/error'
import { withDetails } from '../errors/codes.ts'

export const RoomNotFound = createError('ROOM_NOT_FOUND', 'Room %s does not exist', 404)
export const RoomFull = createError('ROOM_FULL', 'The room is full', 409)
export const PinRequired = createError('PIN_REQUIRED', 'The room is locked: a PIN is required', 403)
export const PinWrong = createError('PIN_WRONG', 'The PIN is wrong', 403)
export const Banned = createError('BANNED', 'You are banned from this room', 403)

export const meanings = { BANNED: 'You are banned from this room. details: {until}, epoch milliseconds' }

/** @param until end of the ban, epoch milliseconds */
export function banned (until: number) {
  return withDetails(new Banned(), { until })
}
