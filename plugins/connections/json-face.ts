import sjson from 'secure-json-parse'
import { z } from 'zod'
import { validationFailed } from '../errors/codes.ts'
import type { Face, ParsedMessage } from './face.ts'

const envelope = z.object({
  id: z.union([z.string(), z.number()]).nullish(),
  type: z.string().min(1).max(128),
  data: z.record(z.string(), z.unknown()).nullish()
})

/** The native protocol (protocol.md, section 2): JSON in text frames. */
export const jsonFace: Face<string> = {
  name: 'json',
  parse: (data) => parse(String(data)),
  event: ({ text }) => text,
  reply: (id, outcome) => JSON.stringify({ id, ...outcome })
}

/** Reads a text frame. The id of a frame that is not valid is kept when it has one, so that its error reaches the request. */
function parse (text: string): ParsedMessage {
  let value: unknown
  try {
    // Names that reach a prototype are dropped like other unknown fields.
    value = sjson.parse(text, { protoAction: 'remove', constructorAction: 'remove' })
  } catch {
    return { id: undefined, type: undefined, error: validationFailed([{ path: [], message: 'The frame is not JSON' }]) }
  }
  const result = envelope.safeParse(value)
  if (result.success) {
    const { id, type, data } = result.data
    return { id: id ?? undefined, type, data: data ?? {} }
  }
  const raw = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>
  return {
    // 1e999 is a number that JSON cannot write back.
    id: typeof raw.id === 'string' || Number.isFinite(raw.id) ? raw.id as string | number : undefined,
    type: typeof raw.type === 'string' ? raw.type.slice(0, 128) : undefined,
    error: validationFailed(result.error.issues)
  }
}
