/** A user's id, as the token has it: a number stays a number. */
export type UserId = string | number

/** A user's public data: `userId`, and the public claims of the token. */
export interface Profile {
  userId: UserId
  id: UserId
  [claim: string]: unknown
}

/** The user of a connection. */
export interface User {
  id: UserId
  name: string
  roles: readonly string[]
  profile: Profile
}

/**
 * Ids are compared and stored in this form: 42 and "42" are one user.
 *
 * @param id as the token or a request has it
 */
export function userKeyOf (id: UserId): string {
  return String(id)
}
