import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
// @ts-expect-error: the setup scripts are plain JavaScript
import { findPromtool as find } from '../../scripts/setup/system.mjs'
import { metricsDocs, metricsOf } from '../../scripts/docs-metrics.ts'
import { wholeApp } from '../../scripts/whole-app.ts'
import { build } from '../support/build.ts'

const findPromtool = find as () => string | undefined
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

t.test('the dashboard shows every metric of the server and no unknown metrics', async (t) => {
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

t.test('counters that have an alert are 0 before the first event', async (t) => {
  // Prometheus does not count the first value of a series as an increase.
  const names = [...read('deploy/prometheus/alerts.yml').matchAll(/increase\((\w+)/g)].map(([, name]) => name)
  t.ok(names.length > 5)
  for (const name of names) t.match(await app.metrics.registry.getSingleMetric(String(name))?.get(), { values: [{ value: 0 }] }, String(name))
})

t.test('each alert passes its test', async (t) => {
  const promtool = findPromtool()
  if (promtool === undefined) return t.fail('promtool is missing: npm test installs it')
  const run = (...args: string[]) => execFileSync(promtool, args, { cwd: join(root, 'deploy', 'prometheus'), encoding: 'utf8' })
  t.match(run('check', 'rules', 'alerts.yml'), /SUCCESS/)
  t.match(run('test', 'rules', 'alerts.test.yml'), /SUCCESS/)
  const alerts = [...read('deploy/prometheus/alerts.yml').matchAll(/- alert: (\w+)/g)].map(([, name]) => name)
  const tests = read('deploy/prometheus/alerts.test.yml')
  for (const name of alerts) {
    t.match(tests, new RegExp(`alertname: ${name}, eval_time: \\w+, exp_alerts: \\[\\]`), `${name} does not fire too early`)
    t.match(tests, new RegExp(`alertname: ${name}\\n +eval_time: \\w+\\n +exp_alerts:\\n +- exp_labels`), `${name} fires`)
  }
})

t.test('metrics and log lines contain the NODE_ID of the server', async (t) => {
  const lines: Record<string, unknown>[] = []
  const server = await build(t, { env: { NODE_ID: 'audio-7', FEATURES: 'auth,chat' }, log: (line) => lines.push(line) })
  t.match(await (await fetch(`${server.url}/metrics`)).text(), /^flylive_node_info\{node="audio-7",version="\d[^"]*"\} 1$/m)
  t.ok(lines.length > 0 && lines.every(({ node }) => node === 'audio-7'))
  t.ok(lines.some(({ nodeId }) => /^audio-7-/.test(String(nodeId))))
  server.app.hooks.on('room:userJoined', () => { throw new Error('broken') })
  server.app.hooks.on('room:leave', () => { throw new Error('broken') })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  await ada.ok('room:leave')
  t.match(lines.filter(({ hook }) => hook !== undefined), [
    { hook: 'room:userJoined', roomId: 'r1', node: 'audio-7' },
    { hook: 'room:leave', roomId: 'r1', sessionId: String, userId: 1 }
  ])
})
