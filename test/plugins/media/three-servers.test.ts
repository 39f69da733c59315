import t from 'tap'
import { killOne, startThree } from './three-servers.ts'

// A short version of three-servers.long.ts, in one process and without reloads, drains and cut links. The limits are
// higher here, because the machine may be busy.

t.test('after a server is killed, its listeners receive the other speakers again, and its producers are closed', async (t) => {
  const { heardMs, silenceMs, goneMs } = await killOne(t, await startThree(t, { inProcess: true }))
  t.comment(`heard again after ${heardMs} ms; longest silence elsewhere ${silenceMs} ms; voices gone after ${goneMs} ms`)
  t.ok(goneMs < 20_000)
})
