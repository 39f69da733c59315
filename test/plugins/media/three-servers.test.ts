import t from 'tap'
import { killOne } from './three-servers.ts'

// A short version of three-servers.long.ts. The limits are higher here, because the machine may be busy.

t.test('when a server is killed, its listeners receive the others again, and its producers end', async (t) => {
  const { heardMs, silenceMs, goneMs } = await killOne(t, { inNamespaces: false })
  t.comment(`heard again after ${heardMs} ms; longest silence elsewhere ${silenceMs} ms; voices gone after ${goneMs} ms`)
  t.ok(goneMs < 20_000)
})
