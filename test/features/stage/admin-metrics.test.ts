import t from 'tap'
import { createSeries, lines, pathOf, rangeOf, rateOf, roundUp, sumOf, windowMs } from '../../../features/stage/pages/admin/metrics.ts'
import { build } from '../../support/build.ts'

const metric = (name: string, ...values: (number | null)[]) => ({ name, samples: values.map((value) => ({ name, labels: {}, value })) })

t.test('sums the samples of a metric', async (t) => {
  const metrics = [metric('a_total', 3, 4.5, 1000), metric('nothing_yet'), metric('odd', 1, null)]
  t.equal(sumOf(metrics, 'a_total'), 1007.5)
  t.equal(sumOf(metrics, 'nothing_yet'), 0, 'a labelled counter without samples')
  t.ok(Number.isNaN(sumOf(metrics, 'odd')))
  t.equal(sumOf(metrics, 'unknown'), undefined)
})

t.test('a rate is the increase of a counter per second', async (t) => {
  t.equal(rateOf({ at: 1000, value: 10 }, { at: 3000, value: 16 }), 3)
  t.equal(rateOf({ at: 1000, value: 10 }, { at: 2000, value: 10 }), 0)
  t.equal(rateOf({ at: 1000, value: 500 }, { at: 3000, value: 8 }), 4, 'the rate counts from zero after a restart of the server')
  t.equal(rateOf({ at: 1000, value: 1 }, { at: 1000, value: 2 }), undefined)
  t.equal(rateOf({ at: 2000, value: 1 }, { at: 1000, value: 2 }), undefined, 'the clock was set back')
})

t.test('a series keeps the samples of the last three minutes', async (t) => {
  const series = createSeries()
  const read = (sockets: number, events: number) => [
    metric('flylive_socket_connections', sockets),
    metric('flylive_socket_events_total', events, events),
    metric('nodejs_eventloop_lag_p99_seconds', 0.0125),
    metric('process_cpu_seconds_total', null)
  ]
  t.same(series.pointsOf('people'), [])
  t.ok(series.has('people'), 'no samples yet')
  series.add(0, read(5, 0))
  t.same(series.pointsOf('people'), [{ at: 0, value: 5 }])
  t.same(series.pointsOf('messages'), [], 'a rate needs two samples')
  series.add(2000, read(6, 10))
  t.same(series.pointsOf('messages'), [{ at: 2000, value: 10 }])
  t.same(series.pointsOf('delay').map(({ value }) => value), [12.5, 12.5], 'the delay is in milliseconds')
  t.same(series.pointsOf('cpu'), [], 'invalid numbers are not drawn')
  t.same([series.has('people'), series.has('rooms'), series.has('cpu')], [true, false, true])
  series.add(windowMs + 1000, read(7, 10))
  t.same(series.pointsOf('people'), [{ at: 2000, value: 6 }, { at: windowMs + 1000, value: 7 }])
  series.add(windowMs + 3000, [])
  t.notOk(series.has('people'))
})

t.test('formats a chart as numbers and as a line', async (t) => {
  t.equal(rangeOf([]), undefined)
  t.same(rangeOf([3, 9, 4].map((value, at) => ({ at, value }))), { now: 4, least: 3, most: 9 })
  const scales = [[-1, 1], [0, 1], [0.4, 1], [1, 1], [1.1, 2], [2, 2], [3, 5], [5.01, 10], [10, 10], [17, 20], [120, 200], [1000, 1000], [1001, 2000], [NaN, 1]]
  for (const [value = 0, top] of scales) t.equal(roundUp(value), top, String(value))
  const frame = { end: windowMs, top: 10, width: 180, height: 100, gapMs: 6000 }
  t.equal(pathOf([], frame), '')
  t.equal(pathOf([{ at: 0, value: 0 }, { at: 5000, value: 5 }, { at: 20_000, value: 10 }, { at: windowMs, value: 99 }], frame), 'M0 100L5 50M20 0M180 0', 'the line has gaps between distant samples')
})

t.test('the server exports every metric that the charts use', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth' } })
  t.equal((await fetch(`${server.url}/admin/metrics`)).status, 401, 'the metrics require a key')
  const { metrics } = (await server.admin('GET', '/admin/metrics')).body as { metrics: Parameters<typeof sumOf>[0] }
  for (const { metric } of Object.values(lines)) t.ok(Number.isFinite(sumOf(metrics, metric)), metric)
  const text = await (await fetch(`${server.url}/metrics`)).text()
  t.same(metrics.map(({ name }) => name), [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name), 'the same as for Prometheus')
})
