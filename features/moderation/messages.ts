import { cursor, nextCursor, userId, z } from 'flylive-audio-server/feature'
import type { RequestMap } from 'flylive-audio-server/feature'

/** Maximum duration of a ban, in seconds: ten years. */
const maxBanSeconds = 10 * 365 * 86_400
/** Maximum interval of slow mode, in seconds. */
const maxSlowModeSeconds = 3600
/**
 * Maximum number of users who can be excluded from room:muteAll. This number must not be lower than the maximum number
 * of seats in a room.
 */
const maxExcepted = 100

const aboutUser = (summary: string) => ({ request: z.object({ userId }).describe(summary), reply: z.object({ userId }) })
const bare = (summary: string) => ({ request: z.object({}).describe(summary), reply: z.object({}) })

export const requests = {
  'room:kick': {
    request: z.object({
      userId,
      banSeconds: z.number().min(0).max(maxBanSeconds).optional().describe('How long the user is banned from rejoining. Default: the user can rejoin immediately')
    }).describe('Removes a user from the room. Owner and admins only. An admin cannot remove the owner'),
    reply: z.object({ userId })
  },
  'room:unban': aboutUser('Unbans a user. Has no effect if the user is not banned. Owner and admins only'),
  'room:bans': {
    request: z.object({ cursor, limit: z.int().min(1).max(100).default(50) }).describe("Lists the room's bans. Owner and admins only"),
    reply: z.object({
      bans: z.array(z.object({
        userId,
        until: z.int().describe('Epoch milliseconds'),
        by: userId.nullable().describe('The member who banned the user; null if an admin (over REST) or the backend banned the user')
      })).describe('Ordered by user id'),
      nextCursor
    })
  },
  'room:muteAll': {
    request: z.object({ except: z.array(userId).max(maxExcepted).default([]) }).describe('Mutes all seated users except the owner, the sender and `except`. Owner and admins only'),
    reply: z.object({ userIds: z.array(userId).describe('The newly muted users') })
  },
  'room:lock': {
    request: z.object({ pin: z.string().min(4).max(32).optional().describe('PIN that users need to join from now on. Without a PIN, only the owner, admins, current members and users who have just disconnected can join') }).describe('Locks the room, or replaces its PIN. Owner and admins only'),
    reply: z.object({})
  },
  'room:unlock': bare('Unlocks the room and removes its PIN. Owner and admins only'),
  'room:setRole': {
    request: z.object({ userId, role: z.enum(['admin', 'member']) }).describe('Changes the role of a user. Owner only'),
    reply: z.object({ userId })
  },
  'room:transfer': aboutUser('Makes another member the owner. Owner only'),
  'room:end': bare('Removes everyone and closes the room. Owner only'),
  'chat:delete': {
    request: z.object({ id: z.string().min(1).max(128).describe('Id of the message') }).describe('Deletes a chat message for everyone. Owner and admins only. An admin cannot delete messages from the owner'),
    reply: z.object({})
  },
  'chat:slowMode': {
    request: z.object({ seconds: z.int().min(0).max(maxSlowModeSeconds).describe('0 ends slow mode') }).describe('Sets the minimum time between two chat messages from the same member. Owner and admins only'),
    reply: z.object({})
  }
} satisfies RequestMap
