import { closeCodes } from '../connections/close-codes.ts'
import type { CloseReason } from '../connections/close-codes.ts'
import type { CloseCode } from '../schema/contract.ts'

const meanings: Record<CloseReason, string> = {
  SHUTTING_DOWN: 'The server shuts down. Connect again, to whichever server answers',
  UNSUPPORTED_DATA: 'A binary frame came; this contract has none',
  MESSAGE_TOO_BIG: 'A frame was larger than allowed',
  OVERLOADED: 'The server could not take the connection over. Connect again later',
  UNAUTHORIZED: 'The token has expired or was revoked. Connect again with a new one',
  KICKED: 'Put out of the room by an admin or the backend, or banned. Do not connect again by yourself',
  REPLACED: 'A newer connection of the same user has taken its place',
  TOO_SLOW: 'The client did not read what it was sent, and too much has piled up',
  FLOODING: 'The client sent too many messages'
}

/** All close codes of the server, in the order of their numbers. */
export const allCloseCodes: readonly CloseCode[] = (Object.entries(closeCodes) as [CloseReason, number][])
  .map(([reason, code]) => ({ code, reason, meaning: meanings[reason] }))
  .sort((a, b) => a.code - b.code)
