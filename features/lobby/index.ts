import { defineFeature } from 'flylive-audio-server/feature'
import type { RoomRecord } from 'flylive-audio-server/feature'
import { config } from './config.ts'
import { requests } from './messages.ts'
import { createLobby } from './service.ts'
import { shareSpeakers } from './speaking.ts'

export { config, requests }

declare module 'flylive-audio-server/feature' {
  interface FeatureHooks {
    /**
     * Returns whether each room is on air, in the order of `rooms`. If several handlers are registered, a room is on
     * air if any handler returns true for it.
     */
    'lobby:onAir': (rooms: readonly RoomRecord[]) => Promise<readonly boolean[]>
  }
}

/** Lets every connected user list the active rooms. Intended for deployments whose rooms are public. */
export default defineFeature(async function lobby (app, settings) {
  const speaking = await shareSpeakers(app)
  const service = createLobby(app, settings, speaking)

  app.messages.on('lobby:list', { ...requests['lobby:list'], room: false, limit: { perMinute: settings.listsPerMinute } },
    ({ cursor, limit, query }) => service.list(cursor, limit, query))
}, { name: 'lobby', dependencies: ['rooms', 'store', 'sfu'], config })
