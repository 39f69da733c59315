import type { Room, UserId } from './api.ts'

/** Ids come as numbers and as texts; both are the same user. */
export const sameUser = (one: UserId, other: UserId) => String(one) === String(other)

/** @returns how a user of a room is called; the id where nothing else is known */
export function nameIn ({ participants }: Pick<Room, 'participants'>, userId: UserId): string {
  const name = participants.find((person) => sameUser(person.userId, userId))?.name
  return name === undefined || name === '' ? String(userId) : name
}
