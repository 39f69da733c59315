// Writes docs/metrics.md from the metrics of a server with all features.
//
//   npm run docs:metrics              writes the file
//   npm run docs:metrics -- --check   writes nothing; exits with 1 if the file is stale
import type { FastifyInstance } from 'fastify'
import { writeGenerated } from './generated.ts'
import { wholeApp } from './whole-app.ts'

interface Metric {
  name: string
  help: string
  type: string
  labels: readonly string[]
}

/** @returns the metrics of an app by name, without prom-client's default metrics */
export async function metricsOf (app: FastifyInstance): Promise<Metric[]> {
  const { registry } = app.metrics
  const all = await registry.getMetricsAsJSON()
  return all.filter(({ name }) => name.startsWith('flylive_'))
    .map(({ name, help, type }) => ({ name, help, type: String(type), labels: (registry.getSingleMetric(name) as unknown as { labelNames: string[] }).labelNames }))
    .sort((a, b) => a.name < b.name ? -1 : 1)
}

/** @returns the content of docs/metrics.md */
export function metricsDocs (metrics: readonly Metric[]): string {
  return [
    '# Metrics',
    '',
    '`GET /metrics` has them in the text format of Prometheus; with `METRICS_TOKEN` set it asks for `Authorization: Bearer <token>`. Besides these there are the metrics of Node and the process (`nodejs_…`, `process_…`).',
    '',
    '[deploy/grafana/dashboard.json](../deploy/grafana/dashboard.json) shows them, [deploy/prometheus/alerts.yml](../deploy/prometheus/alerts.yml) has rules for when to look.',
    '',
    '| Metric | Type | Labels | Meaning |',
    '|---|---|---|---|',
    ...metrics.map(({ name, type, labels, help }) => `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(', ')} | ${help} |`),
    '',
    'A counter goes on when its feature is reloaded. What is counted over all servers (`flylive_gift_queue_size`, `flylive_gift_dead_letter_size`) is the same on each: take the maximum, not the sum.',
    '',
    'Made by `npm run docs:metrics`.',
    ''
  ].join('\n')
}

if (import.meta.main) {
  const app = await wholeApp()
  writeGenerated({ 'docs/metrics.md': metricsDocs(await metricsOf(app)) }, 'npm run docs:metrics')
  await app.close()
}
