import { fromEnv, read, z } from 'flylive-audio-server/feature'

/** Settings that admins can change at run time. */
export const config = z.object({
  history: fromEnv('CHAT_HISTORY', z.int().min(0).max(1000).default(50)
    .describe('How many chat messages the history of a room contains. New members receive them.'), read.number),
  messagesPerMinute: fromEnv('RATE_LIMIT_MESSAGES_PER_MINUTE', z.int().min(1).max(10_000).default(60)
    .describe('Chat messages per user and room per minute.'), read.number)
})
