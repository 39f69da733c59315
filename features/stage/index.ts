import fastifyStatic from '@fastify/static'
import { defineFeature } from 'flylive-audio-server/feature'
import type { FeatureInstance, HttpReply } from 'flylive-audio-server/feature'
import { buildPages, findPages } from './build.ts'
import { createGuestSigner, guestPolicy, guestReply, guestRequest } from './guests.ts'
import type { GuestSigner } from './guests.ts'

/**
 * Allows only resources from this server, and no inline scripts or styles. Only Vue is allowed to create HTML from
 * strings.
 *
 * @param media an additional origin from which the page is allowed to load audio
 */
const contentSecurityPolicy = (media = '') => [
  "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "font-src 'self'",
  `connect-src 'self' ${media}`.trim(), `media-src 'self' blob: mediastream: ${media}`.trim(), "manifest-src 'self'",
  "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'", 'trusted-types vue'
].join('; ')

/** Browsers can cache an asset for a year, because its file name contains a hash of its content. */
const assetMaxAgeMs = 365 * 86_400_000

/** Serves the admin page and a demo client for rooms. Disabled in production by default. */
export default defineFeature(async function stage (app) {
  const { NODE_ENV } = app.config
  // The build tools are not installed in production.
  const root = NODE_ENV === 'production' ? await findPages() : await buildPages((text) => app.log.info(text))

  await app.register(fastifyStatic, {
    root,
    prefix: '/stage/',
    // Creates one route per file.
    wildcard: false,
    globIgnore: ['*.html', '**/*.{br,gz}'],
    preCompressed: true,
    immutable: true,
    maxAge: assetMaxAgeMs
  })
  // Browsers revalidate the pages on every load, so that they show the new version after this feature is reloaded.
  const sendPage = (reply: HttpReply, name: string, media?: string) => reply
    .header('content-security-policy', contentSecurityPolicy(media))
    .header('permissions-policy', 'microphone=(self), camera=(), geolocation=()')
    .header('cache-control', 'no-cache')
    .sendFile(name, { cacheControl: false })
  app.get('/', { schema: { hide: true } }, (_request, reply) => sendPage(reply, 'index.html'))
  app.get('/listen/:roomId', { schema: { hide: true } }, (_request, reply) => {
    const url = app.features.getFeature('broadcast')?.url
    return sendPage(reply, 'listen.html', url === undefined ? undefined : new URL(url).origin)
  })
  app.get('/admin', { schema: { hide: true } }, (_request, reply) => sendPage(reply, 'admin.html'))

  // Guests join without a token from the backend, so guests are not allowed in production.
  guestRoutes(app, NODE_ENV === 'production' ? undefined : createGuestSigner(app.features))
}, { name: 'stage', dependencies: [] })

/** @param sign signs tokens for guests; undefined if guests are disabled */
function guestRoutes (app: FeatureInstance, sign: GuestSigner | undefined): void {
  const tags = ['stage']
  app.get('/stage/session', {
    schema: { tags, summary: 'Whether guests can get tokens', response: { 200: guestPolicy } }
  }, async () => ({ guests: sign !== undefined }))
  if (!sign) return

  app.post('/stage/session', {
    schema: { tags, summary: 'Creates a guest token', body: guestRequest, response: { 200: guestReply } }
  }, async ({ body }, reply) => {
    reply.header('cache-control', 'no-store')
    return sign(body)
  })
}
