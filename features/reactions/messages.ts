import { roomId, userId, z } from 'flylive-audio-server/feature'
import type { EventMap, RequestMap } from 'flylive-audio-server/feature'
import { emoji } from './config.ts'

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
    counts: z.record(emoji, z.int().min(1)).describe('Number of reactions per emoji since the previous room:reactions event')
  })
} satisfies EventMap

/** The fields that the `reactions` feature adds to the reply to room:join. */
export const joinReply = z.object({ reactions: z.object({ emojis: z.array(emoji) }) })
