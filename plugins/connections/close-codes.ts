/** Close codes (docs/protocol.md, "Frames"). The name of each code is sent as the close reason. */
export const closeCodes = {
  SHUTTING_DOWN: 1001,
  UNSUPPORTED_DATA: 1003,
  MESSAGE_TOO_BIG: 1009,
  OVERLOADED: 1013,
  UNAUTHORIZED: 4401,
  TOKEN_EXPIRED: 4401,
  KICKED: 4403,
  REPLACED: 4409,
  TOO_SLOW: 4410,
  FLOODING: 4429
} as const

export type CloseReason = keyof typeof closeCodes
