import t from 'tap'
import { printResult, rollingRestart } from './rolling-restart.ts'

t.test('100 clients behind nginx do not notice a rolling restart', async (t) => {
  const result = await rollingRestart(t, { clients: 100, drainSeconds: 10 })
  printResult(t, result)
  t.equal(result.noticed, 0)
  t.equal(result.seatsKept, 100)
  t.ok(result.worstGapMs < 1000, `worst gap ${result.worstGapMs} ms`)
})

t.test('100 clients on three servers, ten of them talking, do not notice a rolling restart', async (t) => {
  const result = await rollingRestart(t, { clients: 100, talkers: 10, servers: 3, drainSeconds: 10 })
  printResult(t, result)
  t.equal(result.noticed, 0)
  t.equal(result.seatsKept, 100)
  t.ok(result.worstGapMs < 1000, `worst gap ${result.worstGapMs} ms`)
  t.ok(result.worstSilenceMs <= 500, `worst silence ${result.worstSilenceMs} ms`)
})
