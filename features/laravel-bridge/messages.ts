import { userIdText, z } from 'flylive-audio-server/feature'
import type { EventMap } from 'flylive-audio-server/feature'

// The backend's responses, as its contract defines them. Unknown fields are ignored.

const id = z.union([z.int(), userIdText])

/** GET rooms/{id} */
export const roomResponse = z.object({ owner_id: id })

/** GET rooms/{id}/members/{uid}/role */
export const roleResponse = z.object({ role: z.enum(['owner', 'admin', 'member']) })

/**
 * Maximum length of the reason of a rejected gift, in characters. The server stores the reason and sends it to the
 * sender, but a backend may use the whole text of an exception as the reason.
 */
const maxReasonLength = 500

/** POST gifts/batch */
export const batchResponse = z.object({
  processed_count: z.int().min(0),
  failed: z.array(z.object({ transaction_id: z.string(), code: z.int(), reason: z.string().transform((reason) => reason.slice(0, maxReasonLength).toWellFormed()) }))
})

/** POST rooms/{id}/status: the response body is not used, and can be empty. */
export const anyResponse = z.unknown().transform(() => ({}))

/** @param names the backend events to relay (LARAVEL_EVENTS) */
export const relayedEvents = (names: readonly string[]): EventMap =>
  Object.fromEntries(names.map((name) => [name, z.unknown().describe('The payload exactly as the backend published it on Redis')]))
