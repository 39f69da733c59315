import { z } from 'zod'
import { profile, roomId, userId } from '../schema/ids.ts'
import { text } from '../schema/texts.ts'
import type { EventMap, RequestMap } from '../schema/messages.ts'
import { cursor, nextCursor } from '../schema/pages.ts'

/** Why a room was closed: a predefined reason, or text that an admin entered. */
export const closeReason = z.union([z.enum(['closed_by_admin', 'inactivity', 'host_left', 'backend']), z.string().min(1).max(128)])
export type RoomCloseReason = z.output<typeof closeReason>

/** A PIN, in plain text. */
export const pin = z.string().min(4).max(32)
export const title = text(1, 80)
export const topic = text(0, 200)

/** The details of a room that its members see. */
export const details = z.object({
  title: z.string().nullable().describe('null if the room has no title'),
  topic: z.string().nullable().describe('null if the room has no topic'),
  isLocked: z.boolean().describe('Whether the room is locked. New users need the PIN to join a locked room; if the room has no PIN, they cannot join')
})

export const requests = {
  'session:ping': { request: z.object({}).describe('Checks that the connection works'), reply: z.object({ serverTime: z.int().describe('Epoch milliseconds') }) },
  'room:join': {
    request: z.object({
      roomId,
      pin: pin.optional().describe("The room's PIN. If the join creates the room, later joins require this PIN"),
      title: title.optional().describe('Title of the new room; ignored if the room already exists'),
      topic: topic.optional().describe('Topic of the new room; ignored if the room already exists')
    }).describe('Joins a room and leaves the previous one. The first join creates the room'),
    reply: z.looseObject({
      roomId,
      self: z.object({ userId, role: z.enum(['owner', 'admin', 'member']) }),
      ownerId: userId.nullable().describe('null if the room has no owner'),
      ...details.shape,
      admins: z.array(userId).describe('The admins appointed by the owner'),
      participantCount: z.int(),
      participants: z.array(profile).describe('Enabled features add fields to the profiles')
    }).describe('Enabled features add fields')
  },
  'room:update': {
    request: z.object({
      title: title.nullable().optional().describe('null removes the title'),
      topic: topic.nullable().optional().describe('null removes the topic')
    }).describe("Changes the room's title and topic. Owner and admins only"),
    reply: z.object({})
  },
  'room:leave': {
    request: z.object({}).describe("Leaves the room. The server releases the user's seat and closes the session's audio"),
    reply: z.object({})
  },
  'room:participants': {
    request: z.object({
      cursor,
      limit: z.int().min(1).max(200).default(100)
    }).describe('Lists all participants in order of arrival. If users join or leave between two pages, the list neither repeats nor skips other participants'),
    reply: z.object({
      participants: z.array(profile),
      participantCount: z.int().describe('Total participants in the room'),
      nextCursor
    })
  },
  'user:getRoom': {
    request: z.object({ userId }).describe("Returns a user's current room"),
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
  }).describe('Sent first on every connection'),
  'session:expiring': z.object({ expiresAt: z.int().describe('When the token expires and the server closes the session, epoch milliseconds') }).describe("Sent 60 s before the session's token expires. session:refresh replaces the token"),
  error: z.looseObject({ code: z.string(), message: z.string(), type: z.string().optional() }).describe('Sent when a request without an id fails, or when the server cannot decode a frame'),
  'room:userJoined': z.object({ roomId, userId, user: profile }).describe('Sent to the other members when a user joins. Rooms with more than PRESENCE_COALESCE_OVER members receive room:presence instead'),
  'room:userLeft': z.object({ roomId, userId }).describe('Sent to the other members when a user leaves. Rooms with more than PRESENCE_COALESCE_OVER members receive room:presence instead'),
  'room:presence': z.object({ roomId, count: z.int(), joined: z.array(profile), left: z.array(userId) }).describe('Joins and leaves in the last second, with at most 20 profiles per event. Sent to all members of a large room. In other rooms, sent only for users with more than 20 joins and leaves in 10 s'),
  'room:owner': z.object({ roomId, ownerId: userId, previousOwnerId: userId }).describe('Sent to all members when another user becomes the owner, for example because the owner was absent for OWNER_GRACE_SECONDS'),
  'room:updated': z.object({ roomId, ...details.shape }).describe('Sent to all members when the title or topic changes, or when the room is locked or unlocked'),
  'room:role': z.object({ roomId, userId, role: z.enum(['admin', 'member']) }).describe('Sent to all members when a member becomes an admin, or an admin becomes a member'),
  'room:closed': z.object({ roomId, reason: closeReason, timestamp: z.int() }).describe('Sent to all members when the room is closed'),
  'server:draining': z.object({
    deadline: z.int().describe('When the server may close the remaining sessions, epoch milliseconds'),
    url: z.string().optional().describe('Another server to connect to; see NODE_URLS')
  }).describe('Sent to every connection of a server that starts to shut down'),
  'feature:enabled': z.object({ name: z.string() }).describe("Sent to every connection when a feature is enabled. The server accepts the feature's requests in all rooms. To receive the fields that the feature adds to the reply to room:join, join again"),
  'feature:disabled': z.object({ name: z.string() }).describe("Sent to every connection when a feature is disabled. The server rejects the feature's requests with FEATURE_DISABLED")
} satisfies EventMap
