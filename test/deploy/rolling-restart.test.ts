import t from 'tap'
import { printResult, rollingRestart } from './rolling-restart.ts'

// rolling-restart.long.ts uses 100 clients and separate server processes, and also limits the longest gap between
// messages and the longest silence.

t.test('clients behind nginx do not notice a rolling restart', async (t) => {
  const result = await rollingRestart(t, { clients: 4, talkers: 2, drainSeconds: 5, inProcess: true })
  printResult(t, result)
  t.equal(result.noticed, 0, 'every room client stays in its room, with its audio')
  t.equal(result.seatsKept, 4)
})
