import { roomId, userId, z } from 'flylive-audio-server/feature'
import type { EventMap, RequestMap } from 'flylive-audio-server/feature'

// The longest emoji there are, families and flags of regions, stay well below.
const emoji = z.string().min(1).max(64)

/** What an admin can set while the server runs. */
export const config = z.object({
  emojis: z.array(emoji).min(1).max(100)
    .default(['👏', '❤️', '😂', '🎉', '🔥', '👍', '👎', '😮', '😢', '🤔', '🙏', '✋'])
    .describe('What may be sent, in the order in which clients show it'),
  reactionsPerMinute: z.int().min(1).max(10_000).default(120).describe('Per user'),
  coalesceOver: z.int().min(0).max(100_000).default(50).describe('Rooms with more members than this get the numbers once a second')
})

export const requests = {
  'room:react': {
    request: z.object({ emoji: emoji.describe('One of those that the reply to room:join tells') }),
    reply: z.object({})
  }
} satisfies RequestMap

export const events = {
  'room:reaction': z.object({ roomId, userId, emoji }),
  'room:reactions': z.object({
    roomId,
    counts: z.record(emoji, z.int().min(1)).describe('How often each was sent since the last time')
  })
} satisfies EventMap

/** What the feature adds to the reply of room:join. */
export const joinReply = z.object({ reactions: z.object({ emojis: z.array(emoji) }) })
