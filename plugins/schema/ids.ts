import { z } from 'zod'

/** protocol.md, "Ids". */
export const roomId = z.string().regex(/^[A-Za-z0-9_.:-]{1,128}$/, 'must be 1–128 characters of A–Z a–z 0–9 _ . : -')
/** A user's id, in either form. */
export const userId = z.union([z.number(), z.string().min(1).max(128)])

export const profile = z.looseObject({ userId, id: userId }).describe('The public claims of a user')
