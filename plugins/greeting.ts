import fp from 'fastify-plugin'
import type { Session } from './connections/session.ts'
import { subprotocol } from './connections/web-socket-server.ts'

/** How long the greeting waits for features to add fields, in milliseconds. */
const hookMs = 3000

/** Sends the greeting (session:ready) to each new client. */
export default fp(async function greeting (app) {
  async function greet (session: Session): Promise<void> {
    const extra = await app.hooks.gather('session:greet', hookMs, session)
    session.sendFirst('session:ready', {
      ...extra,
      sessionId: session.id,
      userId: session.user.id,
      protocol: subprotocol,
      features: app.features.enabled(),
      serverTime: app.clock.now()
    })
  }

  app.hooks.on('session:open', (session) => {
    if (!session.connected) return
    session.awaitFirst()
    const greeted = greet(session).catch((err: unknown) => {
      app.log.error({ err, sessionId: session.id, userId: session.user.id }, 'failed to send the greeting (session:ready)')
      session.close('OVERLOADED')
    })
    // Events and requests wait until the greeting is sent, so that no event or reply precedes it.
    app.messages.hold(session, greeted)
  })
}, { name: 'greeting', dependencies: ['hooks', 'messages', 'features', 'clock'] })
