import { closeCodes } from '../connections/close-codes.ts'
import type { CloseReason } from '../connections/close-codes.ts'
import type { CloseCode } from '../schema/contract.ts'

const meanings: Record<CloseReason, string> = {
  SHUTTING_DOWN: 'The server is shutting down. Reconnect; a load balancer may select another server',
  UNSUPPORTED_DATA: 'The client sent a binary frame; this protocol uses text frames only',
  MESSAGE_TOO_BIG: 'The client sent a frame that exceeds the size limit',
  OVERLOADED: 'The server cannot accept the connection. Reconnect later',
  UNAUTHORIZED: 'The token was revoked. Do not reconnect with the same token',
  TOKEN_EXPIRED: 'The token expired. Reconnect with a new token',
  KICKED: 'An admin or the backend kicked or banned the user. Do not reconnect automatically',
  REPLACED: 'A newer connection of the same user replaced this one',
  TOO_SLOW: 'The client reads too slowly: its send queue on the server is full',
  FLOODING: 'The client sent too many messages or bytes'
}

/** All close codes of the server, sorted by number. */
export const allCloseCodes: readonly CloseCode[] = (Object.entries(closeCodes) as [CloseReason, number][])
  .map(([reason, code]) => ({ code, reason, meaning: meanings[reason] }))
  .sort((a, b) => a.code - b.code)
