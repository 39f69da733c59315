import { z } from 'flylive-audio-server/feature'
import type { RequestMap } from 'flylive-audio-server/feature'

export const requests = {
  'session:refresh': {
    request: z.object({ token: z.string().min(1).max(16_384) }).describe('Replaces the token of the session with a newer token of the same user'),
    reply: z.object({ expiresAt: z.int().optional().describe('When the new token expires, in epoch milliseconds') })
  }
} satisfies RequestMap
