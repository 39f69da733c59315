import { roomId, z } from 'flylive-audio-server/feature'
import type { EventMap } from 'flylive-audio-server/feature'

const recommended = z.boolean().describe('Whether listeners should receive the mix (audio:consume with producerId `mix`) instead of the individual voices')

export const events = {
  'audio:mix': z.object({ roomId, recommended }).describe('Sent to all members when the recommendation changes')
} satisfies EventMap

/** The fields that the `mix` feature adds to the reply to room:join. */
export const joinReply = z.object({ mix: z.object({ recommended }) })
