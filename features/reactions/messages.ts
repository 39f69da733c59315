import { roomId, userId, z } from 'flylive-audio-server/feature'
import type { EventMap, RequestMap } from 'flylive-audio-server/feature'

// Longer than any emoji sequence, such as families or regional flags.
const emoji = z.string().min(1).max(64)

/** Settings that an admin can change at run time. */
export const config = z.object({
  emojis: z.array(emoji).min(1).max(100)
    .default(['👏', '❤️', '😂', '🎉', '🔥', '👍', '👎', '😮', '😢', '🤔', '🙏', '✋'])
    .describe('Allowed emojis, in the order of display'),
  reactionsPerMinute: z.int().min(1).max(10_000).default(120).describe('Reactions per user and minute'),
  coalesceOver: z.int().min(0).max(100_000).default(50).describe('Rooms with more members than this receive counts once per second')
})

export const requests = {
  'room:react': {
    request: z.object({ emoji: emoji.describe('One of `reactions.emojis` in the reply to room:join') }),
    reply: z.object({})
  }
} satisfies RequestMap

export const events = {
  'room:reaction': z.object({ roomId, userId, emoji }),
  'room:reactions': z.object({
    roomId,
    counts: z.record(emoji, z.int().min(1)).describe('Number of reactions per emoji since the last event')
  })
} satisfies EventMap

/** The feature's part of the join reply. */
export const joinReply = z.object({ reactions: z.object({ emojis: z.array(emoji) }) })
