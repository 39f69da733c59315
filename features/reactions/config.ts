import { z } from 'flylive-audio-server/feature'

// The maximum length is enough for every emoji sequence, such as a family or a regional flag.
export const emoji = z.string().min(1).max(64)

/** Settings that admins can change at run time. */
export const config = z.object({
  emojis: z.array(emoji).min(1).max(100)
    .default(['👏', '❤️', '😂', '🎉', '🔥', '👍', '👎', '😮', '😢', '🤔', '🙏', '✋'])
    .describe('Allowed emojis, in display order'),
  reactionsPerMinute: z.int().min(1).max(10_000).default(120).describe('Maximum number of reactions per user per minute'),
  coalesceOver: z.int().min(0).max(100_000).default(50).describe('Rooms with more members than this number receive counts once per second instead of individual reactions')
})
