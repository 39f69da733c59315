import { defineFeature } from 'flylive-audio-server/feature'
import { config } from './config.ts'
import { closeIdleRooms } from './sweep.ts'

export { config }

/** Closes empty rooms. Without this feature, an empty room stays open until it is closed explicitly. */
export default defineFeature(async function autoClose (app, { emptyRoomSeconds }) {
  const sweep = closeIdleRooms(app, emptyRoomSeconds * 1000)
  app.addHook('onClose', () => sweep.stop())
}, { name: 'auto-close', dependencies: ['rooms', 'store'], config })
