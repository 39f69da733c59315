import t from 'tap'
import { printResult, rollingRestart } from './rolling-restart.ts'

// rolling-restart.long.ts does the same with 100 clients and server processes, and compares the longest gap and the longest silence with their
// limits.

t.test('clients behind nginx do not notice a rolling restart', async (t) => {
  const result = await rollingRestart(t, { clients: 4, talkers: 2, drainSeconds: 2, inProcess: true })
  printResult(t, result)
  t.equal(result.noticed, 0, 'every room client stays in its room, with its audio')
  t.equal(result.seatsKept, 4)
})
