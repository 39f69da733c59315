import { z } from 'zod'
import { profile, roomId, userId } from '../schema/ids.ts'
import type { EventMap, RequestMap } from '../schema/messages.ts'
import { cursor, nextCursor } from '../schema/pages.ts'

/** Why a room was closed: one of these, or what an admin gave. */
export const closeReason = z.union([z.enum(['closed_by_admin', 'inactivity', 'host_left', 'backend']), z.string().min(1).max(128)])
export type RoomCloseReason = z.output<typeof closeReason>

export const requests = {
  'room:join': {
    request: z.object({
      roomId,
      seatCount: z.int().min(1).max(15).default(15).describe('Only counts when this creates the room'),
      pin: z.string().min(4).max(32).optional().describe('Locks the room when this creates it; later joins need it')
    }).describe('Enters a room, and leaves the one before. The room comes to be when its first member enters'),
    reply: z.looseObject({
      roomId,
      self: z.object({ userId, role: z.enum(['owner', 'admin', 'member']) }),
      ownerId: userId,
      participantCount: z.int(),
      participants: z.array(profile)
    }).describe('Features add what they know of the room')
  },
  'room:leave': {
    request: z.object({}).describe('Leaves the room, and with it the seat and all audio there'),
    reply: z.object({})
  },
  'room:participants': {
    request: z.object({
      cursor,
      limit: z.int().min(1).max(200).default(100)
    }).describe('Who is in the room, all of them, in order of arrival. Who comes or goes meanwhile moves nobody else to another page'),
    reply: z.object({
      participants: z.array(profile),
      participantCount: z.int().describe('How many are in the room in all'),
      nextCursor
    })
  },
  'user:getRoom': {
    request: z.object({ userId }).describe('In which room a user is now'),
    reply: z.object({ roomId: roomId.nullable() })
  }
} satisfies RequestMap

export const events = {
  'session:ready': z.looseObject({
    sessionId: z.string(),
    userId,
    protocol: z.literal('msab.v1'),
    features: z.array(z.string()),
    serverTime: z.int()
  }).describe('The greeting: the first frame of every connection'),
  error: z.looseObject({ code: z.string(), message: z.string(), type: z.string().optional() }).describe('A message without an id has failed, or a frame could not be read'),
  'room:userJoined': z.object({ roomId, userId, user: profile }).describe('To the others, in rooms that are not big'),
  'room:userLeft': z.object({ roomId, userId }).describe('To the others, in rooms that are not big'),
  'room:presence': z.object({ roomId, count: z.int(), joined: z.array(profile), left: z.array(userId) }).describe('To everyone in a big room, at most once a second: who came and went since'),
  'room:closed': z.object({ roomId, reason: closeReason, timestamp: z.int() }).describe('To everyone: the room is no more'),
  'server:draining': z.object({ deadline: z.int().describe('Until when open sessions go on: then the server may end them, epoch milliseconds') }).describe('To every socket: this server is about to stop'),
  'feature:enabled': z.object({ name: z.string() }).describe('Its messages are answered now, also in rooms that were there before: join again to be told what it adds'),
  'feature:disabled': z.object({ name: z.string() }).describe('Its messages are refused from now on (FEATURE_DISABLED)')
} satisfies EventMap
