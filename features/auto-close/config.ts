import { fromEnv, read, z } from 'flylive-audio-server/feature'

/** Settings that admins can change at run time. */
export const config = z.object({
  emptyRoomSeconds: fromEnv('EMPTY_ROOM_SECONDS', z.int().min(0).max(86_400).default(60)
    .describe('The server closes a room that has been empty for this many seconds. Until then, the room keeps its owner and PIN.'), read.number)
})
