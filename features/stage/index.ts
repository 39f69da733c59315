import fastifyStatic from '@fastify/static'
import { defineFeature } from 'flylive-audio-server/feature'
import type { FeatureInstance, HttpReply } from 'flylive-audio-server/feature'
import { buildPages, findPages } from './build.ts'
import { createGuestSigner, guestPolicy, guestReply, guestRequest } from './guests.ts'
import type { GuestSigner } from './guests.ts'

/** Only what the server itself sends, no script or style in a page; Vue's is the one policy that makes HTML of strings. */
const contentSecurityPolicy = [
  "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "font-src 'self'",
  "connect-src 'self'", "media-src 'self' blob: mediastream:", "manifest-src 'self'",
  "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'", 'trusted-types vue'
].join('; ')

/** A year: the name of an asset follows from what is in it. */
const assetMaxAgeMs = 365 * 86_400_000

/** A client for rooms, and a page for admins: to try the server, and to see what it can do. Off in production. */
export default defineFeature(async function stage (app) {
  const { JWT_SECRET, NODE_ENV } = app.config
  // In production the tools that build them are not installed.
  const root = NODE_ENV === 'production' ? await findPages() : await buildPages((text) => app.log.info(text))

  await app.register(fastifyStatic, {
    root,
    prefix: '/stage/',
    // A route for each file, instead of one for whatever is asked for.
    wildcard: false,
    globIgnore: ['*.html', '**/*.{br,gz}'],
    preCompressed: true,
    immutable: true,
    maxAge: assetMaxAgeMs
  })
  // Always asked for again, so that a reload of the feature shows at once.
  const sendPage = (reply: HttpReply, name: string) => reply
    .header('content-security-policy', contentSecurityPolicy)
    .header('permissions-policy', 'microphone=(self), camera=(), geolocation=()')
    .header('cache-control', 'no-cache')
    .sendFile(name, { cacheControl: false })
  app.get('/', { schema: { hide: true } }, (_request, reply) => sendPage(reply, 'index.html'))
  app.get('/admin', { schema: { hide: true } }, (_request, reply) => sendPage(reply, 'admin.html'))

  // Whoever is signed in here needs no token of the backend's: never in production.
  guestRoutes(app, NODE_ENV === 'production' ? undefined : createGuestSigner(JWT_SECRET))
}, { name: 'stage', dependencies: [] })

/** @param sign absent where nobody is a guest */
function guestRoutes (app: FeatureInstance, sign: GuestSigner | undefined): void {
  const tags = ['stage']
  app.get('/stage/session', {
    schema: { tags, summary: 'Whether guests get tokens here', response: { 200: guestPolicy } }
  }, async () => ({ guests: sign !== undefined }))
  if (!sign) return

  app.post('/stage/session', {
    schema: { tags, summary: 'A token for a guest, to try things with', body: guestRequest, response: { 200: guestReply } }
  }, async ({ body }, reply) => {
    reply.header('cache-control', 'no-store')
    return sign(body)
  })
}
