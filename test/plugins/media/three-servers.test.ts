import t from 'tap'
import { reloadable, reloadAll } from '../../support/reloads.ts'
import { killOne, startThree } from './three-servers.ts'

// A short version of three-servers.long.ts. The limits are higher here, because the machine may be busy.

const three = await startThree(t, { env: reloadable })

t.test('feature reloads do not interrupt clients that receive the voices or the mix, or that take a seat, on any server', async (t) => {
  const { voicesMs, mixMs, seatedMs, lost } = await reloadAll(t, three.servers.map(({ url }) => url), ['mix', 'media', 'seats'], 1)
  t.comment(`longest silence: voices ${voicesMs} ms, mix ${mixMs} ms, listeners who took seats ${seatedMs} ms`)
  t.equal(lost, 0)
  for (const ms of [voicesMs, mixMs, seatedMs]) t.ok(ms < 1000, `${ms} ms`)
})

t.test('listeners of a killed server receive the other speakers again, and its producers are closed', async (t) => {
  const { heardMs, silenceMs, goneMs } = await killOne(t, three)
  t.comment(`heard again after ${heardMs} ms; longest silence elsewhere ${silenceMs} ms; voices gone after ${goneMs} ms`)
  t.ok(goneMs < 20_000)
})
