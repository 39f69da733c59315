import { defineFeature, userId, z } from 'flylive-audio-server/feature'
import { adminRoutes } from './admin.ts'
import { config } from './config.ts'
import { requests } from './messages.ts'
import { createAuth } from './service.ts'
import type { Auth } from './service.ts'

export { config, requests }

declare module 'flylive-audio-server/feature' {
  interface FeatureInstance {
    auth: Auth
  }
}

const sessionAnswer = z.object({
  user: z.looseObject({ userId, id: userId, roles: z.array(z.string()) }).describe('The public claims and the roles in the token'),
  expiresAt: z.number().optional().describe('Epoch milliseconds')
})

/** Authenticates clients with tokens that the backend signs. The kernel calls `authenticate` when a client connects. */
export default defineFeature(async function auth (app, settings) {
  const service = createAuth(app, settings)
  app.decorate('auth', service)
  app.addHook('onClose', async () => service.close())

  // Browsers do not tell a page why a WebSocket upgrade failed. With this route, the page can find out whether its
  // token was the reason.
  app.get('/auth/session', {
    schema: { summary: 'Validates a token and returns its session', security: [{ token: [] }], response: { 200: sessionAnswer } }
  }, async (request, reply) => {
    const { user, expiresAt } = await service.authenticate(request)
    return reply.header('cache-control', 'no-store').send({ user: { ...user.profile, roles: [...user.roles] }, expiresAt })
  })
  app.messages.on('session:refresh', { ...requests['session:refresh'], room: false, limit: { perMinute: 30 } }, async ({ token }, { session }) => {
    const identity = await service.identify(token)
    app.sockets.renew(session, identity)
    return { expiresAt: identity.expiresAt }
  })
  adminRoutes(app, service)
}, { name: 'auth', dependencies: ['kv', 'sockets', 'cluster'], config })
