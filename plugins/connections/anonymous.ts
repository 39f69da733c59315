import { randomUUID } from 'node:crypto'
import type { Identity } from './session.ts'

/** A client without a token, if the configuration allows it: a generated user per connection. */
export function anonymous (): Identity {
  const id = `guest-${randomUUID()}`
  const name = `Guest ${id.slice(6, 10)}`
  return { user: { id, name, roles: [], profile: { userId: id, id, name } } }
}
