import type { ErrorCode, WireError } from './protocol.ts'

/**
 * Codes that only a client knows:
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
 * - `CONNECTION_INVALID`: the address or the token has characters that can't be sent
 * - `KICKED`, `REPLACED`: the server has ended the connection, and does not want it back
 */
export type ClientErrorCode =
  | 'NOT_CONNECTED'
  | 'CONNECTION_LOST'
  | 'TIMEOUT'
  | 'UNREACHABLE'
  | 'REFUSED'
  | 'TOKEN_UNAVAILABLE'
  | 'MEDIA_FAILED'
  | 'ROOM_CLOSED'
  | 'TRACK_ENDED'
  | 'CLOSED'
  | 'CONNECTION_INVALID'
  | 'KICKED'
  | 'REPLACED'

/** Why something failed. */
export class RequestError extends Error {
  override readonly name = 'RequestError'
  /** What a program acts on: one of the server's codes, of a client's, or of a feature that the contract does not know. */
  readonly code: ErrorCode | ClientErrorCode | (string & NonNullable<unknown>)
  /** What the server says besides, like `{ retryAfterMs }`. */
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

/** @returns how long the server asks to wait before the next try, in milliseconds; 0 when it does not say */
export function retryAfterOf (error: unknown): number {
  const { retryAfterMs = 0 } = (error instanceof RequestError ? error.details ?? {} : {}) as { retryAfterMs?: number }
  return retryAfterMs
}

/** @returns the same error, or MEDIA_FAILED for a fault of the browser's WebRTC, which has no code of ours */
export function asMediaError (error: unknown): Error {
  if (codeOf(error) !== undefined) return error as Error
  return new RequestError({ code: 'MEDIA_FAILED', message: `WebRTC failed: ${error instanceof Error ? error.message : String(error)}` }, { cause: error })
}
