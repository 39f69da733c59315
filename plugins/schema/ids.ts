import { z } from 'zod'
import { isStorable } from './texts.ts'

/**
 * See docs/protocol.md, "Frames". `.` and `..` are not allowed, because HTTP clients remove such segments from URLs.
 */
export const roomId = z.string().max(128, 'must have at most 128 characters')
  .regex(/^(\.{0,2}[A-Za-z0-9_:-][A-Za-z0-9_.:-]*|\.{3}[A-Za-z0-9_.:-]*)$/, 'must be 1–128 characters of A–Z a–z 0–9 _ . : -, but not . or ..')
/**
 * A user's id as a string, even if it is numeric. `.` and `..` are not allowed, because HTTP clients remove such
 * segments from URLs.
 */
export const userIdText = z.string().min(1).max(128).refine((id) => id !== '.' && id !== '..', 'must not be . or ..')
  .refine(isStorable, 'must not contain a NUL character or an unpaired surrogate')
/**
 * A user's id: a whole number or a string. JSON parsers round numbers beyond 2^53, so two users could end up with the
 * same id. Ids beyond 2^53 must therefore be strings.
 */
// The text schema comes first, because it rejects a number faster than the number schema rejects a string.
export const userId = z.union([userIdText, z.int()], 'must be a whole number or a string of 1–128 characters')

export const profile = z.looseObject({ userId, id: userId }).describe('The public claims of a user')
