import type { Room, UserId } from './api.ts'

/** True if two ids identify the same user. The same id may occur as a number and as a string. */
export const sameUser = (one: UserId, other: UserId) => String(one) === String(other)

/** @returns the display name of a user in a room; the id if the name is unknown */
export function nameIn ({ participants }: Pick<Room, 'participants'>, userId: UserId): string {
  const name = participants.find((person) => sameUser(person.userId, userId))?.name
  return name === undefined || name === '' ? String(userId) : name
}
