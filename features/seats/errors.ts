import { createError } from 'flylive-audio-server/feature'

export const SeatInvalid = createError('SEAT_INVALID', 'This room has no seat %s', 400)
export const SeatLocked = createError('SEAT_LOCKED', 'Seat %s is locked', 409)
export const SeatNotLocked = createError('SEAT_NOT_LOCKED', 'Seat %s is not locked', 409)
export const SeatAlreadyLocked = createError('SEAT_ALREADY_LOCKED', 'Seat %s is already locked', 409)
export const SeatTaken = createError('SEAT_TAKEN', 'Seat %s is already taken', 409)
export const NotSeated = createError('NOT_SEATED', '%s', 409)
export const InvitePending = createError('INVITE_PENDING', 'An invite to seat %s is already pending', 409)
export const InviteNotFound = createError('INVITE_NOT_FOUND', '%s', 404)
export const AlreadySeated = createError('ALREADY_SEATED', 'You already have a seat', 409)
export const SeatRequestsFull = createError('SEAT_REQUESTS_FULL', 'This room already has the maximum of %s seat requests', 409)
export const SeatRequestNotFound = createError('SEAT_REQUEST_NOT_FOUND', '%s', 404)

export const meanings = {
  INVITE_NOT_FOUND: 'You have no pending invite to this seat',
  NOT_SEATED: 'The user does not have a seat',
  SEAT_REQUEST_NOT_FOUND: 'The user has not requested a seat'
}
