import t from 'tap'
import { killWorkers } from './worker-death.ts'

// A small version of worker-death.long.ts. The limits are higher here, because the machine may be busy.

t.test('when a media worker dies, only members with audio on that worker are affected', async (t) => {
  const { touched, untouched, againMs, silenceMs, speakersAgainMs } = await killWorkers(t, { members: 24, listeners: 4 })
  t.comment(`${touched} members were on the worker, their longest silence was ${againMs} ms, that of the others ${silenceMs} ms; worker of the speakers: heard again after ${speakersAgainMs} ms`)
  t.ok(touched > 0 && untouched > 0)
})
