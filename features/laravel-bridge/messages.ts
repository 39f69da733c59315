import { z } from 'flylive-audio-server/feature'
import type { EventMap } from 'flylive-audio-server/feature'

// What the backend answers (see its contract); what it says besides is ignored.

const id = z.union([z.int(), z.string().min(1).max(128)])

/** GET rooms/{id} */
export const roomAnswer = z.object({ owner_id: id })

/** GET rooms/{id}/members/{uid}/role */
export const roleAnswer = z.object({ role: z.enum(['owner', 'admin', 'member']) })

/** POST gifts/batch */
export const batchAnswer = z.object({
  processed_count: z.int().min(0),
  failed: z.array(z.object({ transaction_id: z.string(), code: z.int(), reason: z.string() }))
})

/** POST rooms/{id}/status: any answer will do. */
export const anyAnswer = z.unknown()

/** @param names of the backend's events that are passed on (LARAVEL_EVENTS) */
export const relayed = (names: readonly string[]): EventMap =>
  Object.fromEntries(names.map((name) => [name, z.unknown().describe('As the backend has published it, on Redis')]))
