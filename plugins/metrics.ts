import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fp from 'fastify-plugin'
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'

/**
 * The metrics registry. The first call with a name creates the metric, and later calls return the same metric. Counters
 * therefore survive a feature reload.
 */
export interface Metrics {
  readonly registry: Registry
  counter<L extends string = never> (name: string, help: string, labels?: readonly L[]): Counter<L>
  gauge<L extends string = never> (name: string, help: string, labels?: readonly L[]): Gauge<L>
  /** @param buckets upper bounds of the buckets, in the unit at the end of the metric's name */
  histogram<L extends string = never> (name: string, help: string, labels: readonly L[], buckets: readonly number[]): Histogram<L>
}

declare module 'fastify' {
  interface FastifyInstance {
    metrics: Metrics
  }
}

/** @param registry must not be the registry of another server in the same process */
export function createMetrics (registry = new Registry()): Metrics {
  const getOrCreate = <T>(name: string, create: () => T) => (registry.getSingleMetric(name) as T | undefined) ?? create()
  return {
    registry,
    counter: (name, help, labels = []) =>
      getOrCreate(name, () => new Counter({ name, help, labelNames: [...labels], registers: [registry] })),
    gauge: (name, help, labels = []) =>
      getOrCreate(name, () => new Gauge({ name, help, labelNames: [...labels], registers: [registry] })),
    histogram: (name, help, labels, buckets) =>
      getOrCreate(name, () => new Histogram({ name, help, labelNames: [...labels], buckets: [...buckets], registers: [registry] }))
  }
}

/**
 * Metrics of the process, such as its memory. All servers in a process share them. prom-client cannot stop collecting
 * them, so separate process metrics for each server would keep closed servers in memory.
 */
const processMetrics = new Registry()
collectDefaultMetrics({ register: processMetrics })

const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '..', 'package.json'), 'utf8')) as { version: string }

export default fp(async function metrics (app) {
  const created = createMetrics(Registry.merge([processMetrics]))
  // Other metrics need no `node` label, because Prometheus adds an `instance` label to every metric.
  created.gauge('flylive_node_info', "Always 1; the labels are NODE_ID and the server's version", ['node', 'version']).set({ node: app.config.NODE_ID, version }, 1)
  app.decorate('metrics', created)
}, { name: 'metrics', dependencies: ['config'] })
