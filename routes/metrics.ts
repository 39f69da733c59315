import { createHash, timingSafeEqual } from 'node:crypto'
import type { FastifyPluginAsync } from 'fastify'
import { z } from 'zod'
import { Unauthorized } from '../plugins/errors/codes.ts'

const digest = (text: string) => createHash('sha256').update(text).digest()

/** GET /metrics: Prometheus text, protected by METRICS_TOKEN if one is set. */
export default (async function metrics (app) {
  const { METRICS_TOKEN } = app.config
  const { registry } = app.metrics

  app.get('/metrics', {
    schema: {
      tags: ['health'],
      summary: 'Metrics for Prometheus',
      security: METRICS_TOKEN === undefined ? [] : [{ metricsToken: [] }],
      response: { 200: { description: 'Prometheus text format', content: { 'text/plain': { schema: z.string() } } } }
    }
  }, async (request, reply) => {
    if (METRICS_TOKEN !== undefined) {
      const given = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1] ?? ''
      // Compares digests: they have equal lengths, so the timing reveals nothing about the token.
      if (!timingSafeEqual(digest(given), digest(METRICS_TOKEN))) throw new Unauthorized('The metrics need a token')
    }
    return reply.type(registry.contentType).send(await registry.metrics())
  })
}) satisfies FastifyPluginAsync
