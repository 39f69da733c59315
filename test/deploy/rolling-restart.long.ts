import t from 'tap'
import { printResult, rollingRestart } from './rolling-restart.ts'

t.test('100 clients behind nginx do not notice a rolling restart', async (t) => {
  const result = await rollingRestart(t, 100, 10)
  printResult(t, result)
  t.equal(result.noticed, 0)
  t.equal(result.seatsKept, 100)
  t.ok(result.worstGapMs < 1000, `worst gap ${result.worstGapMs} ms`)
})
