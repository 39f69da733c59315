import type { ErrorCode, WireError } from './protocol.ts'

/**
 * Codes of errors that the client itself creates:
 *
 * - `NOT_CONNECTED`: the client was not connected, so it sent nothing
 * - `CONNECTION_LOST`: the connection broke before the reply; the request may have taken effect
 * - `TIMEOUT`: no reply arrived in time; the request may still take effect. If the server answers a ping, the
 *   connection stays open
 * - `UNREACHABLE`: the server's address did not respond; details: `{ url }` if the client tried to connect
 * - `REFUSED`: the server or a proxy rejected the connection without a reason that the client can read; a later attempt
 *   may succeed
 * - `TOKEN_UNAVAILABLE`: the `token` option did not return a token. The message contains the reason. The client retries
 *   later
 * - `MEDIA_FAILED`: the transports do not connect, or the browser's WebRTC failed; details: {@link MediaFailure}
 * - `ROOM_CLOSED`: the room was closed for everyone
 * - `TRACK_ENDED`: the published track has ended and was not replaced, for example because the only microphone was
 *   unplugged
 * - `BITRATE_EXCEEDED`: the server closed the published track because its bit rate was too high
 * - `CLOSED`: the application cancelled the operation, for example by leaving the room or unpublishing the track
 * - `CONNECTION_INVALID`: the URL is malformed, or the page is not allowed to connect to it
 * - `KICKED`, `REPLACED`: the server closed the connection permanently, because the user was removed from the room
 *   (`KICKED`) or connected from another device (`REPLACED`)
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
  | 'BITRATE_EXCEEDED'
  | 'CLOSED'
  | 'CONNECTION_INVALID'
  | 'KICKED'
  | 'REPLACED'

/** The error of a failed request, join or connection. */
export class RequestError extends Error {
  override readonly name = 'RequestError'
  /** A code from the contract, from the client itself, or from a feature that the contract does not contain. */
  readonly code: ErrorCode | ClientErrorCode | (string & NonNullable<unknown>)
  /** Details from the server, for example `{ retryAfterMs }`. */
  readonly details: unknown

  constructor ({ code, message, details }: WireError, options?: ErrorOptions) {
    super(message, options)
    this.code = code
    this.details = details
  }
}

/** @returns the code of the error; undefined if it has none */
export function codeOf (error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

// Codes of errors that may be temporary. For example, a disabled feature may be enabled again, and the client replaces
// a missing transport.
const passing = new Set(['UNAVAILABLE', 'OVERLOADED', 'DRAINING', 'RATE_LIMITED', 'FEATURE_DISABLED', 'TRANSPORT_NOT_FOUND', 'TIMEOUT', 'MEDIA_FAILED'])

/** Whether a retry on the same connection may succeed. */
export function mayPass (error: unknown): boolean {
  return passing.has(codeOf(error) ?? '')
}

/** True if the request failed only because the client was not connected, lost the connection or closed it. */
export function isDisconnect (error: unknown): boolean {
  return ['NOT_CONNECTED', 'CONNECTION_LOST', 'CLOSED'].includes(codeOf(error) ?? '')
}

/** Whether the server will reject this client until an administrator changes the deployment's configuration. */
export function isMisconfigured (error: unknown): boolean {
  return ['ORIGIN_NOT_ALLOWED', 'NOT_FOUND'].includes(codeOf(error) ?? '')
}

/**
 * @returns how long the server asks the client to wait before a retry, in milliseconds; 0 if the error has no such time
 */
export function retryAfterOf (error: unknown): number {
  const { retryAfterMs = 0 } = (error instanceof RequestError ? error.details ?? {} : {}) as { retryAfterMs?: number }
  return retryAfterMs
}

/**
 * @returns the same error if it has a code. An error without a code comes from the browser's WebRTC; the result is then
 *   a MEDIA_FAILED error
 */
export function asMediaError (error: unknown): Error {
  if (codeOf(error) !== undefined) return error as Error
  return new RequestError({ code: 'MEDIA_FAILED', message: `WebRTC failed: ${error instanceof Error ? error.message : String(error)}` }, { cause: error })
}
