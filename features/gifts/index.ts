import { defineFeature, readWithJoin } from 'flylive-audio-server/feature'
import type { z } from 'flylive-audio-server/feature'
import { adminRoutes } from './admin.ts'
import { config } from './config.ts'
import { events, joinReply, requests } from './messages.ts'
import { createGifts } from './service.ts'
import type { Gifts } from './service.ts'

declare module 'flylive-audio-server/feature' {
  interface FeatureInstance {
    gifts: Gifts
  }
}

export { config, requests }
export * as errors from './errors.ts'

/**
 * Lets members send gifts. The server stores a gift before it acknowledges the request. After the reply, the server
 * announces the gift to the room. Stored gifts are sent to the backend in batches. The `laravel-bridge` feature sends
 * the batches.
 */
export default defineFeature(async function gifts (app, { ledgerSize }) {
  const service = createGifts(app, ledgerSize)
  app.decorate('gifts', service)
  app.addHook('onClose', async () => service.close())
  app.messages.events(events)
  app.messages.adds('room:join', joinReply)

  app.messages.on('gift:send', { ...requests['gift:send'], limit: { perMinute: 30 } }, async (request, { room, session, afterReply }) => {
    const accepted = await service.accept(session, room, request)
    afterReply(() => service.announce(accepted, session))
    return { transactionId: accepted.gift.transactionId }
  })
  app.messages.on('gift:prepare', { ...requests['gift:prepare'], limit: { perMinute: 60 } }, async (request, { room, session }) => {
    await service.prepare(session, room, request)
    return {}
  })

  const totalsOf = readWithJoin(app.hooks, service.totals)
  app.hooks.on('room:join', async (room, session) => ({ giftTotals: await totalsOf(room, session) } satisfies z.input<typeof joinReply>))
  app.hooks.on('room:removed', async (room) => { await service.forgetTotals(room) })

  adminRoutes(app, service)
}, { name: 'gifts', dependencies: ['rooms', 'sockets', 'store'], config })
