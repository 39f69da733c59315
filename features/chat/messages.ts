import { roomId, text, userId, z } from 'flylive-audio-server/feature'
import type { EventMap, RequestMap } from 'flylive-audio-server/feature'

/** Maximum length of a message, in code points (docs/protocol.md, "Chat"). */
export const maxContentLength = 500

const content = text(1, maxContentLength)

export const messageType = z.enum(['text', 'emoji', 'sticker', 'system'])

export const chatMessage = z.object({
  roomId,
  id: z.string(),
  userId,
  userName: z.string(),
  avatar: z.unknown().optional().describe('Present if the server sends the claim `avatar` to other clients (PUBLIC_CLAIMS)'),
  content: z.string(),
  messageType,
  timestamp: z.int()
})
export type ChatMessage = z.output<typeof chatMessage>

const slowModeSeconds = z.number().min(0).describe('Minimum time between two messages from the same member, in seconds; 0 if slow mode is off')

export const requests = {
  'chat:message': {
    request: z.object({ content, messageType: messageType.default('text').describe('Only the owner and admins are allowed to send `system` messages') }).describe('Sends a message to the room'),
    reply: z.object({ id: z.string(), timestamp: z.int() })
  },
  'chat:history': {
    request: z.object({
      before: z.string().max(128).optional().describe('The nextCursor of the previous page, or the id of a message. The reply contains only messages older than that message. Default: the newest messages'),
      limit: z.int().min(1).max(100).default(50)
    }).describe('Returns earlier messages of the room'),
    reply: z.object({
      messages: z.array(chatMessage).describe('Oldest first'),
      nextCursor: z.string().nullable().describe('Cursor of the page with older messages; null if there are no older messages')
    })
  }
} satisfies RequestMap

export const events = {
  'chat:message': chatMessage.describe('Sent to all members, including the sender'),
  'chat:deleted': z.object({ roomId, id: z.string(), by: userId.describe('The user who deleted the message') }).describe('Sent to all members when the owner or an admin deletes a message'),
  'chat:mode': z.object({ roomId, slowModeSeconds }).describe('Sent to all members when slow mode changes')
} satisfies EventMap

/**
 * The fields that chat adds to the join reply. A message that is sent during the join can be both in `chatHistory` and
 * in an event.
 */
export const joinReply = z.object({
  chatHistory: z.array(chatMessage).describe('The newest messages, oldest first'),
  slowModeSeconds
})
