import { z } from 'flylive-audio-server/feature'

// What ES2026 adds and the type library does not know yet.
const { parse, rawJSON, isRawJSON } = JSON as unknown as {
  parse (text: string, reviver: (key: string, value: unknown, context: { source?: string }) => unknown): unknown
  rawJSON (text: string): unknown
  isRawJSON (value: unknown): boolean
}

const id = z.preprocess(
  (value) => isRawJSON(value) ? JSON.stringify(value) : value,
  z.union([z.number(), z.string().min(1).max(128)]).nullish()
).transform((value) => value === undefined || value === null ? undefined : String(value))

const envelope = z.object({
  event: z.string().min(1).max(128),
  user_id: id,
  room_id: id,
  payload: z.unknown().optional(),
  correlation_id: z.union([z.literal('').transform(() => undefined), id])
})

/** An event of the backend: what, to whom, and what it carries. */
export interface Envelope {
  event: string
  /** In the form in which ids are compared. */
  userKey: string | undefined
  roomId: string | undefined
  /** Exactly what the backend sent, also numbers that no JavaScript number holds. */
  payload: unknown
  /** The same in each delivery of one event. */
  correlationId: string | undefined
}

/** Larger ones are not passed on: to a socket with a backlog they would be the end. In characters. */
export const maxEnvelopeLength = 262_144

/**
 * Reads what came on the channel.
 *
 * @returns the envelope, or what is wrong with it; nothing of its content
 */
export function readEnvelope (text: string): { envelope: Envelope } | { problem: string } {
  if (text.length > maxEnvelopeLength) return { problem: `it has ${text.length} characters` }
  let parsed: unknown
  try {
    parsed = parseExactly(text)
  } catch {
    return { problem: 'it is not JSON' }
  }
  const { data, error } = envelope.safeParse(parsed)
  if (error) return { problem: error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join(', ') }
  return {
    envelope: {
      event: data.event,
      userKey: data.user_id,
      roomId: data.room_id,
      payload: data.payload === undefined ? {} : data.payload,
      correlationId: data.correlation_id
    }
  }
}

/** Numbers of 16 digits and more may not be what they seem; they are kept as they are written. */
function parseExactly (text: string): unknown {
  if (!/\d{16}/.test(text)) return JSON.parse(text)
  return parse(text, (_key, value, { source }) =>
    typeof value === 'number' && source !== undefined && String(value) !== source ? rawJSON(source) : value)
}
