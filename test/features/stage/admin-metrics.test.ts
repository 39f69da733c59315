import t from 'tap'
import { createSeries, lines, parseMetrics, pathOf, rangeOf, rateOf, roundUp, sumOf, windowMs } from '../../../features/stage/pages/admin/metrics.ts'
import { build } from '../../support/build.ts'

t.test('the text format of Prometheus is read', async (t) => {
  const metrics = parseMetrics(`# HELP a_total What it counts, {with="braces"} 7
# TYPE a_total counter
a_total 3

a_total{x="1",y="two words"} 4.5
a_total{x="a \\"quoted\\" \\\\ } brace\\n"} 1e3 1700000000000
# TYPE nothing_yet counter
odd NaN
up +Inf
down -Inf
negative -2
not a sample
also{broken 7
`)
  t.same(metrics.get('a_total'), [
    { labels: {}, value: 3 },
    { labels: { x: '1', y: 'two words' }, value: 4.5 },
    { labels: { x: 'a "quoted" \\ } brace\n' }, value: 1000 }
  ])
  t.same(metrics.get('nothing_yet'), [])
  t.same(metrics.get('odd'), [{ labels: {}, value: NaN }])
  t.same([sumOf(metrics, 'up'), sumOf(metrics, 'down'), sumOf(metrics, 'negative')], [Infinity, -Infinity, -2])
  t.notOk(metrics.has('also'))
  t.equal(sumOf(metrics, 'a_total'), 1007.5)
  t.equal(sumOf(metrics, 'nothing_yet'), 0, 'a counter with labels, of which nothing was counted')
  t.equal(sumOf(metrics, 'unknown'), undefined)
  t.same([...parseMetrics('').keys()], [])
  t.same([...parseMetrics('<html>it is something else</html>').keys()], [])
})

t.test('a rate is by how much a counter grows a second', async (t) => {
  t.equal(rateOf({ at: 1000, value: 10 }, { at: 3000, value: 16 }), 3)
  t.equal(rateOf({ at: 1000, value: 10 }, { at: 2000, value: 10 }), 0)
  t.equal(rateOf({ at: 1000, value: 500 }, { at: 3000, value: 8 }), 4, 'from nothing where the server has begun anew')
  t.equal(rateOf({ at: 1000, value: 1 }, { at: 1000, value: 2 }), undefined)
  t.equal(rateOf({ at: 2000, value: 1 }, { at: 1000, value: 2 }), undefined, 'the clock was set back')
})

t.test('series keep three minutes', async (t) => {
  const series = createSeries()
  const text = (sockets: number, events: number) => parseMetrics(`flylive_socket_connections ${sockets}
flylive_socket_events_total{event="a"} ${events}
flylive_socket_events_total{event="b"} ${events}
nodejs_eventloop_lag_p99_seconds 0.0125
process_cpu_seconds_total NaN
`)
  t.same(series.pointsOf('people'), [])
  t.ok(series.has('people'), 'nothing is known yet')
  series.add(0, text(5, 0))
  t.same(series.pointsOf('people'), [{ at: 0, value: 5 }])
  t.same(series.pointsOf('messages'), [], 'a rate needs two looks')
  series.add(2000, text(6, 10))
  t.same(series.pointsOf('messages'), [{ at: 2000, value: 10 }])
  t.same(series.pointsOf('delay').map(({ value }) => value), [12.5, 12.5], 'in milliseconds')
  t.same(series.pointsOf('cpu'), [], 'what is no number is not drawn')
  t.same([series.has('people'), series.has('rooms'), series.has('cpu')], [true, false, true])
  series.add(windowMs + 1000, text(7, 10))
  t.same(series.pointsOf('people'), [{ at: 2000, value: 6 }, { at: windowMs + 1000, value: 7 }])
  series.add(windowMs + 3000, parseMetrics(''))
  t.notOk(series.has('people'))
})

t.test('a chart in numbers and as a line', async (t) => {
  t.equal(rangeOf([]), undefined)
  t.same(rangeOf([3, 9, 4].map((value, at) => ({ at, value }))), { now: 4, least: 3, most: 9 })
  const scales = [[-1, 1], [0, 1], [0.4, 1], [1, 1], [1.1, 2], [2, 2], [3, 5], [5.01, 10], [10, 10], [17, 20], [120, 200], [1000, 1000], [1001, 2000], [NaN, 1]]
  for (const [value = 0, top] of scales) t.equal(roundUp(value), top, String(value))
  const frame = { end: windowMs, top: 10, width: 180, height: 100, gapMs: 6000 }
  t.equal(pathOf([], frame), '')
  t.equal(pathOf([{ at: 0, value: 0 }, { at: 5000, value: 5 }, { at: 20_000, value: 10 }, { at: windowMs, value: 99 }], frame), 'M0 100L5 50M20 0M180 0', 'with gaps where nobody looked')
})

t.test('what is drawn is there', async (t) => {
  const { url } = await build(t, { env: { FEATURES: 'auth' } })
  const metrics = parseMetrics(await (await fetch(`${url}/metrics`)).text())
  for (const { metric } of Object.values(lines)) t.ok(Number.isFinite(sumOf(metrics, metric)), metric)
})
