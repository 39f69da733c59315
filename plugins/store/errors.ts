import createError from '@fastify/error'
import { rateLimited, withDetails } from '../errors/codes.ts'

export const RoomNotFound = createError('ROOM_NOT_FOUND', 'Room %s does not exist', 404)
export const RoomFull = createError('ROOM_FULL', 'The room is full', 409)
export const PinRequired = createError('PIN_REQUIRED', 'The room is locked: a PIN is required', 403)
export const PinWrong = createError('PIN_WRONG', 'The PIN is wrong', 403)
export const RoomLocked = createError('ROOM_LOCKED', 'The room is locked: new users cannot join', 403)
export const BanLimit = createError('BAN_LIMIT', 'The room already has the maximum of %s bans', 409)
export const Banned = createError('BANNED', 'You are banned from this room', 403)

export const meanings = {
  BANNED: 'You are banned from this room. details: {until}, epoch milliseconds',
  BAN_LIMIT: 'The room already has the maximum number of bans. details: {limit}'
}

/** Marks a join error as the result of a host's lock. Such a lock does not apply to the room's owner and admins. */
export const markLockedByHost = <E extends Error>(error: E) => Object.assign(error, { lockedByHost: true as const })

/** True if the join failed because of a host's lock, so that the room's owner and admins are still allowed to join. */
export const isLockedByHost = (error: unknown): boolean => error instanceof Error && 'lockedByHost' in error

/** @param limit maximum number of bans */
export function banLimit (limit: number) {
  return withDetails(new BanLimit(limit), { limit })
}

/** @param until the end of the ban, in epoch milliseconds */
export function banned (until: number) {
  return withDetails(new Banned(), { until })
}

/** Which limit on wrong PINs has been reached: the limit per user, per address or per room. */
export type PinLimitOf = 'user' | 'address' | 'room'

/** @returns RATE_LIMITED for too many wrong PINs */
export const pinLimited = (pinLimit: PinLimitOf, retryAfterMs: number) => Object.assign(rateLimited(retryAfterMs), { pinLimit })

/** @returns undefined if the error is not from {@link pinLimited} */
export function pinLimitOf (error: unknown): { pinLimit: PinLimitOf, retryAfterMs: number } | undefined {
  if (!(error instanceof Error && 'pinLimit' in error)) return
  const { pinLimit, details } = error as ReturnType<typeof pinLimited>
  return { pinLimit, retryAfterMs: (details as { retryAfterMs: number }).retryAfterMs }
}
