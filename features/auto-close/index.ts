import fp from 'fastify-plugin'
import { closeIdleRooms } from './sweep.ts'

/** Closes rooms that everybody has left. Without it they stay until an admin closes them. */
export default fp(async function autoClose (app) {
  const sweep = closeIdleRooms(app, app.config.EMPTY_ROOM_SECONDS * 1000)
  app.addHook('onClose', () => sweep.stop())
}, { name: 'auto-close', dependencies: ['rooms', 'store'] })
