import createError from '@fastify/error'

// The codes that any message or call may answer with. A feature keeps its own
// in its errors.ts. A retired code is never used again.

export const ValidationFailed = createError('VALIDATION_FAILED', '%s', 400)
export const UnknownType = createError('UNKNOWN_TYPE', 'There is no message type %s', 404)
export const FeatureDisabled = createError('FEATURE_DISABLED', 'The feature %s is turned off', 409)
export const Unauthorized = createError('UNAUTHORIZED', '%s', 401)
export const Forbidden = createError('FORBIDDEN', '%s', 403)
export const OriginNotAllowed = createError('ORIGIN_NOT_ALLOWED', 'Connections from this origin are not allowed', 403)
export const NotFound = createError('NOT_FOUND', 'There is nothing at %s', 404)
export const RateLimited = createError('RATE_LIMITED', 'Too many requests, try again later', 429)
export const Unavailable = createError('UNAVAILABLE', '%s', 503)
export const Draining = createError('DRAINING', 'The server is shutting down', 503)
export const Overloaded = createError('OVERLOADED', 'The server is at its limit', 503)
export const Internal = createError('INTERNAL', 'Something went wrong on the server', 500)
export const UpgradeRequired = createError('UPGRADE_REQUIRED', 'This is a WebSocket endpoint', 426)

/** What codes mean, where their message says it only case by case, or goes with details. */
export const meanings = {
  VALIDATION_FAILED: 'The data does not fit. details: [{path, message}], where it is about fields',
  UNAUTHORIZED: 'A token or key is missing, or is not valid (any more)',
  FORBIDDEN: 'You may not do this',
  RATE_LIMITED: 'Too many requests. details: {retryAfterMs}',
  UNAVAILABLE: 'Something this depends on is down; the same may succeed later. details: {retryable: true}'
}

/** An error with a code that clients may see; `details` goes out with it. */
export interface CodedError extends Error {
  code: string
  statusCode: number
  details?: unknown
}

/** The one shape in which an error leaves the server, over WebSocket and REST alike. */
export interface WireError {
  code: string
  message: string
  details?: unknown
}

/**
 * @param error any coded error
 * @param details what a program can act on, sent along as `details`
 * @returns the same error
 */
export function withDetails<T extends Error> (error: T, details: unknown): T & { details: unknown } {
  return Object.assign(error, { details })
}

/** A dependency is down and the same call may succeed later. */
export function unavailable (message: string, cause?: unknown) {
  // A text behind the message would become a part of it.
  return withDetails(cause === undefined ? new Unavailable(message) : new Unavailable(message, { cause }), { retryable: true })
}

/** @param retryAfterMs when the limit allows the next try, in milliseconds */
export function rateLimited (retryAfterMs: number) {
  return withDetails(new RateLimited(), { retryAfterMs })
}

/**
 * Whether an error was meant for the client. Told by its form and not by
 * `instanceof`: two generations of a feature have two classes of the same name.
 */
export function isCoded (error: unknown): error is CodedError {
  return error instanceof Error &&
    'code' in error && typeof error.code === 'string' && /^[A-Z][A-Z_]*$/.test(error.code) && !error.code.startsWith('FST_') &&
    'statusCode' in error && typeof error.statusCode === 'number'
}

// Fastify's own refusals, by status; every other one keeps INTERNAL.
const byStatus: Record<number, string> = {
  400: 'VALIDATION_FAILED',
  401: 'UNAUTHORIZED',
  403: 'FORBIDDEN',
  404: 'NOT_FOUND',
  413: 'VALIDATION_FAILED',
  414: 'VALIDATION_FAILED',
  415: 'VALIDATION_FAILED',
  429: 'RATE_LIMITED'
}

/**
 * What a client is told of an error. Errors without a code become INTERNAL
 * and say nothing of what happened inside.
 *
 * @param error anything that was thrown
 * @returns the error to send, and the HTTP status that goes with it
 */
export function toWire (error: unknown): { status: number, wire: WireError } {
  if (isCoded(error)) {
    const wire: WireError = { code: error.code, message: error.message }
    if (error.details !== undefined) wire.details = error.details
    return { status: error.statusCode, wire }
  }
  const status = error instanceof Error && 'statusCode' in error ? Number(error.statusCode) : 500
  const code = byStatus[status]
  if (code !== undefined) return { status, wire: { code, message: (error as Error).message } }
  const internal = new Internal()
  return { status: 500, wire: { code: internal.code, message: internal.message } }
}

/**
 * @param issues of a zod error
 * @returns VALIDATION_FAILED with one `{path, message}` for each, at most 20
 */
export function validationFailed (issues: readonly { path: readonly PropertyKey[], message: string }[]) {
  const details = issues.slice(0, 20).map((issue) => ({ path: issue.path.map(String).join('.'), message: issue.message }))
  const first = details[0]
  const text = first === undefined ? 'The data is not valid' : first.path === '' ? first.message : `${first.path}: ${first.message}`
  return withDetails(new ValidationFailed(text), details)
}
