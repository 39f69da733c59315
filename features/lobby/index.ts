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
     * Returns one boolean per room, in the order of `rooms`: true if the room is on air. If several handlers are
     * registered, a room is on air if at least one handler returns true for the room.
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
