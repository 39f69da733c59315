import { defineFeature } from 'flylive-audio-server/feature'
import type { ConsumeOptions, ConsumerInfo, RtpCapabilities, Session, z } from 'flylive-audio-server/feature'
import { config } from './config.ts'
import { events, joinReply } from './messages.ts'
import { createRecommendations, mixState } from './recommendations.ts'

export { config }

/** Gives other features access to the mix. */
export interface Mix {
  /**
   * Lets a session receive the mix of its room.
   *
   * @throws any error that `sfu.consumeMix` throws
   */
  consume (session: Session, transportId: string, capabilities: RtpCapabilities, options: ConsumeOptions): Promise<ConsumerInfo>
}

declare module 'flylive-audio-server/feature' {
  interface FeatureInstance {
    mix: Mix
  }
}

/**
 * Lets listeners receive one mixed stream instead of one stream per speaker, and recommends the mix in rooms with many
 * listeners. The kernel (`app.sfu`) creates the mix, so audio continues during a reload.
 */
export default defineFeature(async function mix (app, { fromListeners }) {
  const { hooks, messages, rooms, sfu } = app
  const state = rooms.roomState.define('mix', mixState)
  const recommendations = createRecommendations(app, state, fromListeners)
  app.decorate('mix', { consume: sfu.consumeMix } satisfies Mix)
  messages.events(events)
  messages.adds('room:join', joinReply)

  hooks.on('room:join', ({ roomId }) => ({ mix: { recommended: recommendations.isRecommended(roomId) } } satisfies z.input<typeof joinReply>))
  state.onMissed((_room, from, to) => {
    const [before = false, recommended = false] = [from?.recommended, to?.recommended]
    return before === recommended ? [] : [{ type: 'audio:mix', data: { recommended } }]
  })

  hooks.on('room:userJoined', (roomId, _user, count) => recommendations.review(roomId, count))
  hooks.on('room:userLeft', (roomId, _user, _reason, count) => { if (count > 0) recommendations.review(roomId, count) })
  hooks.on('seats:changed', recommendations.seatsChanged)
  hooks.on('room:resynced', (roomId) => recommendations.review(roomId))
  hooks.on('room:released', recommendations.forget)
  app.addHook('onClose', async () => recommendations.close())

  const reviewAll = () => { for (const { roomId } of rooms.local()) recommendations.review(roomId) }
  const setSeats = (areOn: boolean) => {
    recommendations.setSeats(areOn)
    reviewAll()
  }
  hooks.on('feature:loaded', (name) => {
    // While the feature was off, the settings or the members may have changed.
    if (name === 'mix') reviewAll()
    else if (name === 'seats') setSeats(true)
  })
  hooks.on('feature:disabled', (name) => {
    if (name === 'mix') sfu.closeMixConsumers()
    else if (name === 'seats') setSeats(false)
  })
}, { name: 'mix', dependencies: ['rooms', 'sfu'], config })
