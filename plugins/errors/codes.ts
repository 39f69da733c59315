import createError from '@fastify/error'

// The error codes that any request may return. A feature defines its own codes in its errors.ts. A retired code is
// never reused.

export const ValidationFailed = createError('VALIDATION_FAILED', '%s', 400)
export const UnknownType = createError('UNKNOWN_TYPE', 'Unknown message type %s', 404)
export const FeatureDisabled = createError('FEATURE_DISABLED', 'The feature %s is turned off', 409)
export const Unauthorized = createError('UNAUTHORIZED', '%s', 401)
export const Forbidden = createError('FORBIDDEN', '%s', 403)
export const OriginNotAllowed = createError('ORIGIN_NOT_ALLOWED', 'Connections from the origin %s are not allowed: it is not in CORS_ORIGINS', 403)
export const NotFound = createError('NOT_FOUND', '%s was not found', 404)
export const RateLimited = createError('RATE_LIMITED', 'Too many requests, try again later', 429)
export const TooManyConnections = createError('TOO_MANY_CONNECTIONS', 'Too many connections from %s: close one first', 429)
export const Unavailable = createError('UNAVAILABLE', '%s', 503)
export const Draining = createError('DRAINING', 'The server is shutting down', 503)
export const Overloaded = createError('OVERLOADED', 'The server is at its limit', 503)
export const Internal = createError('INTERNAL', 'Something went wrong on the server', 500)
export const UpgradeRequired = createError('UPGRADE_REQUIRED', 'This is a WebSocket endpoint', 426)

/** Descriptions of the codes whose messages or details vary. */
export const meanings = {
  VALIDATION_FAILED: 'The data is not valid. details: [{path, message}]; path is empty if the error is not about a field',
  TOO_MANY_CONNECTIONS: 'Your user or address has too many connections. details: {limit}',
  ORIGIN_NOT_ALLOWED: "The page's origin is neither the server's own nor in CORS_ORIGINS",
  UNAUTHORIZED: 'The token or key is missing, invalid or expired',
  FORBIDDEN: 'You do not have permission',
  RATE_LIMITED: 'Too many requests. details: {retryAfterMs}',
  DRAINING: 'The server is shutting down. details: {retryAfterMs, url?}; url is another server',
  OVERLOADED: 'The server is at its limit. If a connection or a room was rejected, details: {retryAfterMs, url?}; url is a server that may accept it',
  UNAVAILABLE: 'A dependency is down; retry later. details: {retryable: true}'
}

/** An error whose code, message and `details` are sent to the client. */
export interface CodedError extends Error {
  code: string
  statusCode: number
  details?: unknown
}

/** The format of an error in the native protocol and in the REST API. */
export interface WireError {
  code: string
  message: string
  details?: unknown
}

/**
 * @param error any coded error
 * @param details machine-readable data, sent as `details`
 * @returns the same error
 */
export function withDetails<T extends Error> (error: T, details: unknown): T & { details: unknown } {
  return Object.assign(error, { details })
}

/** @returns an UNAVAILABLE error for a dependency that is down; the error's details mark the error as retryable */
export function unavailable (message: string, cause?: unknown) {
  return withDetails(cause === undefined ? new Unavailable(message) : new Unavailable(message, { cause }), { retryable: true })
}

/** @param retryAfterMs time until the limit allows a retry, in milliseconds */
export function rateLimited (retryAfterMs: number) {
  return withDetails(new RateLimited(), { retryAfterMs })
}

/**
 * Whether an error is meant for the client. The function checks the error's properties rather than `instanceof`,
 * because each reload of a feature creates new copies of its error classes.
 */
export function isCoded (error: unknown): error is CodedError {
  return error instanceof Error &&
    'code' in error && typeof error.code === 'string' && /^[A-Z][A-Z0-9_]*$/.test(error.code) && !error.code.startsWith('FST_') &&
    'statusCode' in error && typeof error.statusCode === 'number'
}

// Codes for Fastify's own errors, by HTTP status. An error with any other status becomes INTERNAL.
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

/** Adds details to every VALIDATION_FAILED error, because clients expect a list of details with this code. */
function wireOf (code: string, message: string, details: unknown = code === 'VALIDATION_FAILED' ? [{ path: '', message }] : undefined): WireError {
  return { code, message, ...(details === undefined ? {} : { details }) }
}

/**
 * Converts an error to the format that clients receive. An error with neither a code nor a known HTTP status becomes
 * INTERNAL and reveals no details.
 *
 * @param error anything that was thrown
 * @returns the error to send, and the HTTP status that goes with it
 */
export function toWire (error: unknown): { status: number, wire: WireError } {
  if (isCoded(error)) return { status: error.statusCode, wire: wireOf(error.code, error.message, error.details) }
  const status = error instanceof Error && 'statusCode' in error ? Number(error.statusCode) : 500
  const code = byStatus[status]
  if (code !== undefined) return { status, wire: wireOf(code, (error as Error).message) }
  const internal = new Internal()
  return { status: 500, wire: { code: internal.code, message: internal.message } }
}

/**
 * @param issues the issues of a zod error
 * @returns a VALIDATION_FAILED error. Its details contain one `{path, message}` per issue, for at most 20 issues
 */
export function validationFailed (issues: readonly { path: readonly PropertyKey[], message: string }[]) {
  const details = issues.slice(0, 20).map((issue) => ({ path: issue.path.map(String).join('.'), message: issue.message }))
  const first = details[0]
  const text = first === undefined ? 'The data is not valid' : first.path === '' ? first.message : `${first.path}: ${first.message}`
  return withDetails(new ValidationFailed(text), details)
}
