import sjson from 'secure-json-parse'
import { z } from 'zod'
import { validationFailed } from '../errors/codes.ts'
import type { CodedError } from '../errors/codes.ts'

const envelope = z.object({
  id: z.union([z.string(), z.number()]).nullish(),
  type: z.string().min(1).max(128),
  data: z.record(z.string(), z.unknown()).nullish()
})

/** A frame as it was meant; or what can be said of one that can't be read. */
export type Parsed =
  { id: string | number | undefined, type: string, data: Record<string, unknown>, error?: undefined } |
  { id: string | number | undefined, type: string | undefined, error: CodedError }

/**
 * Reads a frame. Whatever is in it, the answer can go to the right request:
 * its id is kept when there is one.
 *
 * @param text a text frame
 */
export function parseFrame (text: string): Parsed {
  let value: unknown
  try {
    // Names that would reach a prototype are dropped like other unknown fields.
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
    // 1e999 is a number that can't be written back.
    id: typeof raw.id === 'string' || Number.isFinite(raw.id) ? raw.id as string | number : undefined,
    type: typeof raw.type === 'string' ? raw.type.slice(0, 128) : undefined,
    error: validationFailed(result.error.issues)
  }
}
