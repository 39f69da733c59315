import { z } from 'flylive-audio-server/feature'

/** Settings that admins can change at run time. */
export const config = z.object({
  cacheMs: z.int().min(0).max(60_000).default(1000).describe('How long a server caches a page of rooms, in milliseconds'),
  listsPerMinute: z.int().min(1).max(10_000).default(60).describe('Maximum number of lobby:list requests per user per minute'),
  people: z.int().min(0).max(20).default(6).describe('Maximum number of members listed per room')
})
