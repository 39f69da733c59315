import { cursor, nextCursor, profile, query, roomId, userId, z } from 'flylive-audio-server/feature'
import type { RequestMap } from 'flylive-audio-server/feature'

const listed = z.object({
  roomId,
  ownerId: userId,
  participantCount: z.int(),
  hostName: z.string().nullable().describe('Name of the owner; null if the room is locked, or the server does not know the name'),
  title: z.string().nullable(),
  topic: z.string().nullable(),
  isLocked: z.boolean().describe('Whether users need a PIN to join, or cannot join. If true, `hostName` is null, and `people` and `speaking` are empty'),
  live: z.object({
    speaking: z.array(userId).describe('The active speakers, at most a few seconds old'),
    onAir: z.boolean().describe('Whether the room is broadcast')
  }),
  createdAt: z.int(),
  seatCount: z.int().optional().describe('Present if the feature seats is enabled'),
  seated: z.int().optional().describe('Number of users on seats, without users whose connection broke. Present if the feature seats is enabled'),
  people: z.array(profile).describe('Some members: those on seats first, then by time of joining')
})

export const requests = {
  'lobby:list': {
    request: z.object({
      cursor,
      query: query.optional().describe('Only rooms whose id, title, topic and host name contain all of these words, in any case and with or without accents'),
      limit: z.int().min(1).max(100).default(50)
    }).describe('Lists rooms that have members, ordered by id'),
    reply: z.object({ rooms: z.array(listed), nextCursor }).describe('A page may have fewer rooms than `limit` even if more pages follow')
  }
} satisfies RequestMap

export type ListedRoom = z.input<typeof listed>
