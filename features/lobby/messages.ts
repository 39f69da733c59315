import { cursor, nextCursor, profile, query, roomId, userId, z } from 'flylive-audio-server/feature'
import type { RequestMap } from 'flylive-audio-server/feature'

const listed = z.object({
  roomId,
  ownerId: userId,
  participantCount: z.int(),
  hostName: z.string().nullable().describe('Name of the owner; null if the room is locked or the server does not know the name'),
  title: z.string().nullable(),
  topic: z.string().nullable(),
  isLocked: z.boolean().describe('Whether the room is locked. New users need the PIN to join a locked room; if the room has no PIN, they cannot join. In a locked room, `hostName` is null, and `people` and `speaking` are empty'),
  live: z.object({
    speaking: z.array(userId).describe('The active speakers. The list may be a few seconds old'),
    onAir: z.boolean().describe('Whether the room is broadcast')
  }),
  createdAt: z.int(),
  seatCount: z.int().optional().describe('Present if the seats feature is enabled'),
  seated: z.int().optional().describe('Number of seated users, excluding disconnected users. Present if the seats feature is enabled'),
  people: z.array(profile).describe('Some members: seated users first, then other members in order of arrival')
})

export const requests = {
  'lobby:list': {
    request: z.object({
      cursor,
      query: query.optional().describe('Returns only rooms whose id, title, topic and host name together contain all of these words, ignoring case and accents'),
      limit: z.int().min(1).max(100).default(50)
    }).describe('Lists rooms that have members, ordered by id'),
    reply: z.object({ rooms: z.array(listed), nextCursor }).describe('A page may have fewer rooms than `limit` even if more pages follow')
  }
} satisfies RequestMap

export type ListedRoom = z.input<typeof listed>
