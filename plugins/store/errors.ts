import createError from '@fastify/error'
import { withDetails } from '../errors/codes.ts'

export const RoomNotFound = createError('ROOM_NOT_FOUND', 'There is no room %s', 404)
export const RoomFull = createError('ROOM_FULL', 'The room is full', 409)
export const PinRequired = createError('PIN_REQUIRED', 'The room is locked: give its pin', 403)
export const PinWrong = createError('PIN_WRONG', 'This is not the pin of the room', 403)
export const Banned = createError('BANNED', 'You are banned from this room', 403)

export const meanings = { BANNED: 'You are banned from this room. details: {until}, epoch milliseconds' }

/** @param until when the ban ends, epoch milliseconds */
export function banned (until: number) {
  return withDetails(new Banned(), { until })
}
