import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'

const sample = z.object({
  name: z.string().describe("The metric's name; for a histogram, with the suffix `_bucket`, `_sum` or `_count`"),
  labels: z.record(z.string(), z.union([z.string(), z.number()])),
  value: z.number().nullable().describe('null for NaN and infinity')
})

/** GET /admin/metrics: returns the same metrics as GET /metrics, as JSON for the admin page. */
export default (async function metrics (app) {
  if (!app.admin.enabled) return

  app.get('/admin/metrics', {
    schema: {
      tags: ['health'],
      summary: 'Returns all metrics of this server as JSON',
      response: { 200: z.object({ metrics: z.array(z.object({ name: z.string(), samples: z.array(sample) })) }) }
    }
  }, async () => {
    const metrics = await app.metrics.registry.getMetricsAsJSON()
    return {
      metrics: metrics.map(({ name, values }) => ({
        name,
        samples: values.map(({ value, labels, metricName = name }: typeof values[number] & { metricName?: string }) =>
          ({ name: metricName, labels: labels as Record<string, string | number>, value: Number.isFinite(value) ? value : null }))
      }))
    }
  })
}) satisfies FastifyPluginAsyncZod
