// Writes docs/metrics.md from the metrics that a server with every feature has.
//
//   npm run docs:metrics              writes it
//   npm run docs:metrics -- --check   writes nothing; status 1 when it is stale
import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { wholeApp } from './whole-app.ts'

const root = resolve(import.meta.dirname, '..')
const path = 'docs/metrics.md'

interface Metric {
  name: string
  help: string
  type: string
  labels: readonly string[]
}

/** @returns the metrics of an app, by name; those of Node and the process are left to prom-client's own documentation */
export async function metricsOf (app: FastifyInstance): Promise<Metric[]> {
  const { registry } = app.metrics
  const all = await registry.getMetricsAsJSON()
  return all.filter(({ name }) => name.startsWith('flylive_'))
    .map(({ name, help, type }) => ({ name, help, type: String(type), labels: (registry.getSingleMetric(name) as unknown as { labelNames: string[] }).labelNames }))
    .sort((a, b) => a.name < b.name ? -1 : 1)
}

/** @returns what docs/metrics.md must contain */
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

if (process.argv[1] === import.meta.filename) {
  const app = await wholeApp()
  const text = metricsDocs(await metricsOf(app))
  await app.close()
  if (!process.argv.includes('--check')) {
    writeFileSync(join(root, path), text)
  } else if (readFileSync(join(root, path), 'utf8') !== text) {
    console.error(`${path} is stale: npm run docs:metrics`)
    process.exitCode = 1
  }
}
