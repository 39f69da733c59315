import { defineFeature } from 'flylive-audio-server/feature'
import { config } from './config.ts'
import { requests } from './messages.ts'
import { createLobby } from './service.ts'

export { config, requests }

/** Lets every connected user list the active rooms. Intended for deployments whose rooms are public. */
export default defineFeature(async function lobby (app, settings) {
  const service = createLobby(app, settings)

  app.messages.on('lobby:list', { ...requests['lobby:list'], room: false, limit: { perMinute: settings.listsPerMinute } },
    ({ cursor, limit }) => service.list(cursor, limit))
}, { name: 'lobby', dependencies: ['rooms', 'store'], config })
