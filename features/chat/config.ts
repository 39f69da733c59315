import { fromEnv, read, z } from 'flylive-audio-server/feature'

/** Settings that admins can change at run time. */
export const config = z.object({
  history: fromEnv('CHAT_HISTORY', z.int().min(0).max(1000).default(50)
    .describe('Maximum number of chat messages in the history of a room. Users who join receive the history.'), read.number),
  messagesPerMinute: fromEnv('RATE_LIMIT_MESSAGES_PER_MINUTE', z.int().min(1).max(10_000).default(60)
    .describe('Maximum number of chat messages per user per minute in each room.'), read.number)
})
