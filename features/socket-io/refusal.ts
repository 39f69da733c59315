import { isCoded } from 'flylive-audio-server/feature'
import type { WireError } from 'flylive-audio-server/feature'

/** The error that a client receives as `connect_error`. */
export interface Refusal extends Error {
  data: WireError
}

/** The error that a client receives if the cause must not be revealed. */
const internal: WireError = { code: 'INTERNAL', message: 'Something went wrong on the server' }

/**
 * @param error the reason why the client is rejected
 * @param hasToken whether the client sent a token
 * @returns an error whose message Socket.IO clients recognise; `data` has the original code and message
 */
export function refusalOf (error: unknown, hasToken: boolean): Refusal {
  const data: WireError = isCoded(error)
    ? { code: error.code, message: error.message, ...(error.details === undefined ? {} : { details: error.details }) }
    : internal
  return Object.assign(new Error(textOf(data, hasToken)), { data })
}

function textOf ({ code, message }: WireError, hasToken: boolean): string {
  switch (code) {
    case 'ORIGIN_NOT_ALLOWED': return 'Origin not allowed'
    case 'UNAUTHORIZED': return hasToken ? 'Invalid credentials' : 'Authentication required'
    case 'TOO_MANY_CONNECTIONS': return message
    default: return 'Authentication failed'
  }
}
