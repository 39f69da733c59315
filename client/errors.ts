import type { WireError } from './protocol.ts'

/**
 * Why something failed. `code` is what a program acts on: one of the server's
 * (UNAUTHORIZED, ROOM_FULL, …), or one of these, which only a client knows:
 *
 * - `NOT_CONNECTED`: there is no connection now, nothing was sent
 * - `CONNECTION_LOST`: the connection ended before the reply; it may have taken effect
 * - `TIMEOUT`: no reply in time; the connection is given up, too
 * - `UNREACHABLE`: nothing answers at the server's address
 * - `REFUSED`: the server is there, but does not take the connection now
 * - `TOKEN_UNAVAILABLE`: the token could not be had
 * - `MEDIA_FAILED`: audio gets through neither way, or the browser's WebRTC fails
 * - `ROOM_CLOSED`: the room one was in was closed for everyone
 * - `TRACK_ENDED`: the track to be sent has ended, like a microphone that was unplugged
 * - `CLOSED`: the client itself ended it
 */
export class RequestError extends Error {
  override readonly name = 'RequestError'
  readonly code: string
  readonly details: unknown

  constructor ({ code, message, details }: WireError, options?: ErrorOptions) {
    super(message, options)
    this.code = code
    this.details = details
  }
}

/** @returns the code of a coded error, of whatever class; undefined for others */
export function codeOf (error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

// A feature that is off may be on again, and a transport is gone with its worker.
const passing = new Set(['UNAVAILABLE', 'OVERLOADED', 'DRAINING', 'RATE_LIMITED', 'FEATURE_DISABLED', 'TRANSPORT_NOT_FOUND', 'TIMEOUT', 'MEDIA_FAILED'])

/** Whether the same may succeed later on the same connection. */
export function mayPass (error: unknown): boolean {
  return passing.has(codeOf(error) ?? '')
}

/** Whether something failed only because there was no connection any more. */
export function isDisconnect (error: unknown): boolean {
  return ['NOT_CONNECTED', 'CONNECTION_LOST', 'CLOSED'].includes(codeOf(error) ?? '')
}
