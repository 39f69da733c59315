import type { FastifyPluginAsync } from 'fastify'
import { z } from 'zod'
import { bearerOf, createSecretCheck } from '../plugins/admin/keys.ts'
import { Unauthorized } from '../plugins/errors/codes.ts'
import { createLockout } from '../plugins/redis/lockout.ts'

/** GET /metrics: Prometheus text, protected by METRICS_TOKEN if one is set. */
export default (async function metrics (app) {
  const { METRICS_TOKEN } = app.config
  const { registry } = app.metrics
  const isToken = createSecretCheck(METRICS_TOKEN === undefined ? [] : [METRICS_TOKEN])
  const lockout = createLockout(app.hasDecorator('redis') ? app.redis : undefined, { name: 'metrics', secret: 'metrics token', log: app.log })

  app.get('/metrics', {
    schema: {
      tags: ['health'],
      summary: 'Metrics for Prometheus',
      security: METRICS_TOKEN === undefined ? [] : [{ metricsToken: [] }],
      response: { 200: { description: 'Prometheus text format', content: { 'text/plain': { schema: z.string() } } } }
    }
  }, async (request, reply) => {
    const given = bearerOf(request.headers)
    if (METRICS_TOKEN !== undefined && (given === undefined || !isToken(given))) {
      await lockout.check(request.ip)
      if (given !== undefined) await lockout.wrong(request.ip)
      throw new Unauthorized('GET /metrics requires a token')
    }
    return reply.type(registry.contentType).send(await registry.metrics())
  })
}) satisfies FastifyPluginAsync
