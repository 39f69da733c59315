import { roomId, userId, z } from 'flylive-audio-server/feature'
import type { EventMap, RequestMap } from 'flylive-audio-server/feature'

/** Longest message, in characters as people count them: code points (protocol.md, chat:message). */
export const longestContent = 500

const content = z.string().min(1)
  // No character takes more than two units; what is longer than that need not be counted.
  .max(2 * longestContent, `must have at most ${longestContent} characters`)
  .refine((text) => text.length <= longestContent || [...text].length <= longestContent, `must have at most ${longestContent} characters`)
  // JSON Schema counts code points, too.
  .meta({ maxLength: longestContent })

export const messageType = z.enum(['text', 'emoji', 'sticker', 'system'])

/** What an admin can set while the server runs. */
export const config = z.object({
  history: z.int().min(0).max(1000).optional().describe('Messages given to those who join; CHAT_HISTORY by default'),
  messagesPerMinute: z.int().min(1).max(10_000).optional().describe('Per user and room; RATE_LIMIT_MESSAGES_PER_MINUTE by default')
})

export const requests = {
  'chat:message': {
    request: z.object({ content, messageType: messageType.default('text').describe('`system` is for the owner and admins') }).describe('Writes to the room'),
    reply: z.object({ id: z.string(), timestamp: z.int() })
  }
} satisfies RequestMap

export const chatMessage = z.object({
  roomId,
  id: z.string(),
  userId,
  userName: z.string(),
  avatar: z.unknown().optional().describe('Where the avatar is a public claim'),
  content: z.string(),
  messageType,
  timestamp: z.int()
})
export type ChatMessage = z.output<typeof chatMessage>

export const events = { 'chat:message': chatMessage.describe('To everyone in the room, who wrote it included') } satisfies EventMap

/** What the feature adds to the reply of room:join. A message that is sent meanwhile may be here and come as an event, too. */
export const joinReply = z.object({ chatHistory: z.array(chatMessage).describe('The newest messages, the oldest of them first') })
