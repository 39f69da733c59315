import { userIdText, userKeyOf, z } from 'flylive-audio-server/feature'
import type { UserId } from 'flylive-audio-server/feature'

// ES2026 functions that TypeScript's library does not declare yet.
const { parse, rawJSON, isRawJSON } = JSON as unknown as {
  parse (text: string, reviver: (key: string, value: unknown, context: { source?: string }) => unknown): unknown
  rawJSON (text: string): unknown
  isRawJSON (value: unknown): boolean
}

const rawId = z.preprocess(
  (value) => isRawJSON(value) ? JSON.stringify(value) : value,
  z.union([z.number(), userIdText]).nullish()
)
const id = rawId.transform((value) => value === undefined || value === null ? undefined : String(value))
const userId = rawId.transform((value) => typeof value === 'number' && !Number.isSafeInteger(value) ? String(value) : value ?? undefined)

const envelope = z.object({
  event: z.string().min(1).max(128),
  user_id: userId,
  room_id: id,
  payload: z.unknown().optional(),
  correlation_id: z.union([z.literal('').transform(() => undefined), id])
})

/** An event from the backend and its recipients. */
export interface Envelope {
  event: string
  /** The user id with the type (number or string) that the backend sent. */
  userId: UserId | undefined
  /** The normalised user id. */
  userKey: string | undefined
  roomId: string | undefined
  /** The data exactly as the backend sent it, including numbers beyond double precision. */
  payload: unknown
  /** Deduplication key, identical in every delivery of an event. */
  correlationId: string | undefined
}

/**
 * Maximum length of an envelope, in characters. Longer envelopes are dropped, because they could
 * overflow a socket's send buffer.
 */
export const maxEnvelopeLength = 262_144

/**
 * Parses and validates a message from the backend's channel.
 *
 * @returns the envelope; if the message is invalid, a description of the problem that quotes no part of the message
 */
export function readEnvelope (text: string): { envelope: Envelope } | { problem: string } {
  if (text.length > maxEnvelopeLength) return { problem: `longer than ${maxEnvelopeLength} characters: ${text.length}` }
  let parsed: unknown
  try {
    parsed = parseExactly(text)
  } catch {
    return { problem: 'not JSON' }
  }
  const { data, error } = envelope.safeParse(parsed)
  if (error) return { problem: error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join(', ') }
  return {
    envelope: {
      event: data.event,
      userId: data.user_id,
      userKey: data.user_id === undefined ? undefined : userKeyOf(data.user_id),
      roomId: data.room_id,
      payload: data.payload === undefined ? {} : data.payload,
      correlationId: data.correlation_id
    }
  }
}

/**
 * Parses JSON, but keeps the source text of each number that a double cannot represent exactly.
 */
function parseExactly (text: string): unknown {
  if (!/\d{16}/.test(text)) return JSON.parse(text)
  return parse(text, (_key, value, { source }) =>
    typeof value === 'number' && source !== undefined && String(value) !== source ? rawJSON(source) : value)
}
