import { roomId, userId, z } from 'flylive-audio-server/feature'
import type { EventMap } from 'flylive-audio-server/feature'

export const events = {
  'ptt:floor': z.object({ roomId, userId: userId.nullable().describe('The user who has the floor; null if the floor is free') }).describe('Sent to native clients in the room of a push-to-talk channel when the floor is taken or released')
} satisfies EventMap
