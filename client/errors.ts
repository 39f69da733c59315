import type { ErrorCode, WireError } from './protocol.ts'

/**
 * Codes of errors that the client itself creates:
 *
 * - `NOT_CONNECTED`: not connected; nothing was sent
 * - `CONNECTION_LOST`: the connection broke before the reply; the request may have taken effect
 * - `TIMEOUT`: no reply in time; the request may still take effect. The connection stays open if the server answers a
 *   ping
 * - `UNREACHABLE`: no response from the server's address; details: `{ url }` if a connection was attempted
 * - `REFUSED`: the connection was rejected without a readable reason, for example by a proxy; a later attempt may
 *   succeed
 * - `TOKEN_UNAVAILABLE`: the `token` option did not return a token. The message has the reason. The client retries
 * - `MEDIA_FAILED`: the transports do not connect, or the browser's WebRTC failed; details: {@link MediaFailure}
 * - `ROOM_CLOSED`: the room was closed for everyone
 * - `TRACK_ENDED`: the published track has ended and was not replaced, for example because the only microphone was
 *   unplugged
 * - `BITRATE_EXCEEDED`: the server closed the published track because its bit rate was too high
 * - `CLOSED`: the application cancelled the operation, for example by leaving or unpublishing
 * - `CONNECTION_INVALID`: the URL is malformed, or the page is not allowed to connect to it
 * - `KICKED`, `REPLACED`: the server closed the connection permanently
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
  /** A code from the server, from the client, or from a feature that is not in the contract. */
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

// Codes of temporary errors. For example, a disabled feature may be enabled again, and a missing transport is replaced.
const passing = new Set(['UNAVAILABLE', 'OVERLOADED', 'DRAINING', 'RATE_LIMITED', 'FEATURE_DISABLED', 'TRANSPORT_NOT_FOUND', 'TIMEOUT', 'MEDIA_FAILED'])

/** Whether a retry on the same connection may succeed. */
export function mayPass (error: unknown): boolean {
  return passing.has(codeOf(error) ?? '')
}

/** Whether the request failed only because the connection is missing, lost or closed. */
export function isDisconnect (error: unknown): boolean {
  return ['NOT_CONNECTED', 'CONNECTION_LOST', 'CLOSED'].includes(codeOf(error) ?? '')
}

/** Whether the server will reject this client until an administrator changes the deployment's configuration. */
export function isMisconfigured (error: unknown): boolean {
  return ['ORIGIN_NOT_ALLOWED', 'NOT_FOUND'].includes(codeOf(error) ?? '')
}

/** @returns the delay that the server requests before a retry, in milliseconds; 0 by default */
export function retryAfterOf (error: unknown): number {
  const { retryAfterMs = 0 } = (error instanceof RequestError ? error.details ?? {} : {}) as { retryAfterMs?: number }
  return retryAfterMs
}

/** @returns the same error if it has a code; otherwise MEDIA_FAILED, because the browser's WebRTC threw the error */
export function asMediaError (error: unknown): Error {
  if (codeOf(error) !== undefined) return error as Error
  return new RequestError({ code: 'MEDIA_FAILED', message: `WebRTC failed: ${error instanceof Error ? error.message : String(error)}` }, { cause: error })
}
