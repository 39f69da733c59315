import { roomId, userId, z } from 'flylive-audio-server/feature'
import type { EventMap, RequestMap } from 'flylive-audio-server/feature'

/** Settings that an admin can change at run time. */
export const config = z.object({
  longest: z.int().min(1).max(500).default(200).describe('Maximum number of characters in a text'),
  perMinute: z.int().min(1).max(10_000).default(60).describe('Maximum number of texts per user per minute')
})

export const requests = {
  'sample-feature:say': {
    request: z.object({ text: z.string().min(1).max(500) }),
    reply: z.object({ timestamp: z.int() })
  }
} satisfies RequestMap

export const events = {
  'sample-feature:said': z.object({ roomId, userId, text: z.string(), timestamp: z.int() })
} satisfies EventMap
