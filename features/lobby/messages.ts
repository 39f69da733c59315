import { cursor, nextCursor, profile, roomId, userId, z } from 'flylive-audio-server/feature'
import type { RequestMap } from 'flylive-audio-server/feature'

/** Settings that an admin can change at run time. */
export const config = z.object({
  cacheMs: z.int().min(0).max(60_000).default(1000).describe('How long a server caches a page, in milliseconds'),
  listsPerMinute: z.int().min(1).max(10_000).default(60).describe('Pages per user and minute'),
  people: z.int().min(0).max(20).default(6).describe('Members listed per room')
})

const listed = z.object({
  roomId,
  ownerId: userId,
  participantCount: z.int(),
  isLocked: z.boolean().describe('Whether the room needs a PIN. Its `people` is empty then'),
  createdAt: z.int(),
  seatCount: z.int().optional().describe('Present if the feature seats is enabled'),
  seated: z.int().optional().describe('Present if the feature seats is enabled'),
  people: z.array(profile).describe('Some members: those on seats first, then by time of joining')
})

export const requests = {
  'lobby:list': {
    request: z.object({
      cursor,
      limit: z.int().min(1).max(100).default(50)
    }).describe('Lists rooms that have members, ordered by id'),
    reply: z.object({ rooms: z.array(listed), nextCursor }).describe('A page may have fewer rooms than `limit` even if more pages follow')
  }
} satisfies RequestMap

export type ListedRoom = z.input<typeof listed>
