import { cursor, nextCursor, profile, roomId, userId, z } from 'flylive-audio-server/feature'
import type { RequestMap } from 'flylive-audio-server/feature'

/** What an admin can set while the server runs. */
export const config = z.object({
  cacheMs: z.int().min(0).max(60_000).default(1000).describe('How old a list may be that is told, in milliseconds; within that a server asks the store once for each page'),
  listsPerMinute: z.int().min(1).max(10_000).default(60).describe('Pages of a user'),
  people: z.int().min(0).max(20).default(6).describe('Users that are named of each room')
})

const listed = z.object({
  roomId,
  ownerId: userId,
  participantCount: z.int(),
  isLocked: z.boolean().describe('A pin is needed; who is in there is not told'),
  createdAt: z.int(),
  seatCount: z.int().optional().describe('While the feature seats is on'),
  seated: z.int().optional().describe('While the feature seats is on'),
  people: z.array(profile).describe('Some who are in there: those on seats first, then in order of arrival')
})

export const requests = {
  'lobby:list': {
    request: z.object({
      cursor,
      limit: z.int().min(1).max(100).default(50)
    }).describe('The rooms that have somebody in them, in the order of their ids'),
    reply: z.object({ rooms: z.array(listed), nextCursor }).describe('There may be fewer rooms than were asked for although there are others behind them')
  }
} satisfies RequestMap

export type ListedRoom = z.input<typeof listed>
