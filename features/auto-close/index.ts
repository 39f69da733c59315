import { defineFeature, z } from 'flylive-audio-server/feature'
import { closeIdleRooms } from './sweep.ts'

/** Settings that an admin can change at run time. */
export const config = z.object({
  emptyRoomSeconds: z.int().min(0).max(86_400).optional().describe('How long an empty room stays open, in seconds; EMPTY_ROOM_SECONDS by default')
})

/** Closes empty rooms. Without this feature they stay open until an admin closes them. */
export default defineFeature(async function autoClose (app, { emptyRoomSeconds = app.config.EMPTY_ROOM_SECONDS }) {
  const sweep = closeIdleRooms(app, emptyRoomSeconds * 1000)
  app.addHook('onClose', () => sweep.stop())
}, { name: 'auto-close', dependencies: ['rooms', 'store'], config })
