import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { metricsDocs, metricsOf } from '../../scripts/docs-metrics.ts'
import { wholeApp } from '../../scripts/whole-app.ts'

const root = join(import.meta.dirname, '..', '..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')

/** Returns the metric names in a query, without functions, labels and keywords. */
const namesIn = (query: string): string[] => query
  .replace(/\{[^}]*\}|\[[^\]]*\]|"[^"]*"/g, '')
  .replace(/\b(by|without|on|ignoring)\s*\([^)]*\)/g, '')
  .match(/\b[a-z][a-z0-9]*_[a-z0-9_]+\b(?!\s*\()/g) ?? []

const app = await wholeApp()
t.teardown(() => app.close())
const metrics = await app.metrics.registry.getMetricsAsJSON()
const series = new Set(metrics.flatMap(({ name, type }) => String(type) === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name]))

interface Dashboard {
  panels: { id: number, title: string, type: string, description?: string, gridPos: { x: number, y: number, w: number, h: number }, targets?: { expr: string }[] }[]
  templating: { list: { query: string }[] }
}

t.test('docs/metrics.md lists every metric', async (t) => {
  t.equal(read('docs/metrics.md'), metricsDocs(await metricsOf(app)), 'docs/metrics.md is stale: npm run docs:metrics')
  for (const { name, help } of metrics) t.ok(help.length > 5, name)
})

t.test('the dashboard shows every metric of the server and no unknown one', async (t) => {
  const { panels, templating } = JSON.parse(read('deploy/grafana/dashboard.json')) as Dashboard
  const queries = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr))
  t.ok(queries.length > 20)
  const used = new Set([...queries, ...templating.list.map(({ query }) => query.replace(/^label_values\(|, \w+\)$/g, ''))].flatMap(namesIn))
  t.strictSame([...used].filter((name) => !series.has(name)), [])
  const shown = (name: string) => [name, `${name}_bucket`, `${name}_sum`].some((one) => used.has(one))
  t.strictSame(metrics.map(({ name }) => name).filter((name) => name.startsWith('flylive_') && !shown(name)), [], 'each metric is shown')
  t.equal(new Set(panels.map(({ id }) => id)).size, panels.length)
  for (const panel of panels) {
    const { x, y, w, h } = panel.gridPos
    t.ok(panel.type === 'row' || panel.description, panel.title)
    t.ok(x + w <= 24 && !panels.some((other) => other !== panel && other.gridPos.x < x + w && x < other.gridPos.x + other.gridPos.w && other.gridPos.y < y + h && y < other.gridPos.y + other.gridPos.h), `${panel.title} overlaps no other panel`)
  }
})

t.test('the alerts use only existing metrics', async (t) => {
  const text = read('deploy/prometheus/alerts.yml')
  const queries = [...text.matchAll(/^ +expr: (.+)$/gm)].map(([, query]) => query as string)
  t.ok(queries.length > 10)
  t.strictSame(queries.flatMap(namesIn).filter((name) => !series.has(name)), [])
  t.equal((text.match(/- alert:/g) ?? []).length, queries.length)
  t.equal((text.match(/description:/g) ?? []).length, queries.length, 'each alert has instructions')
})
