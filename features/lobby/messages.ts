import { cursor, nextCursor, profile, roomId, userId, z } from 'flylive-audio-server/feature'
import type { RequestMap } from 'flylive-audio-server/feature'

const listed = z.object({
  roomId,
  ownerId: userId,
  participantCount: z.int(),
  isLocked: z.boolean().describe('Whether the room requires a PIN. If so, `people` is empty'),
  createdAt: z.int(),
  seatCount: z.int().optional().describe('Present if the feature seats is enabled'),
  seated: z.int().optional().describe('Number of users on seats, without users whose connection broke. Present if the feature seats is enabled'),
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
