import { fromEnv, read, z } from 'flylive-audio-server/feature'

/** Settings that admins can change at run time. */
export const config = z.object({
  emptyRoomSeconds: fromEnv('EMPTY_ROOM_SECONDS', z.int().min(0).max(86_400).default(60)
    .describe('How long the server keeps an empty room with its owner and PIN, in seconds.'), read.number)
})
