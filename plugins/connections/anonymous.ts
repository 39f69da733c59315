import { randomUUID } from 'node:crypto'
import type { Identity } from './session.ts'

/** Somebody without a token, where the configuration lets them in: a made-up user of one connection. */
export function anonymous (): Identity {
  const id = `guest-${randomUUID()}`
  const name = `Guest ${id.slice(6, 10)}`
  return { user: { id, name, roles: [], profile: { userId: id, id, name } } }
}
