import t from 'tap'
import { killWorkers } from './worker-death.ts'

// docs/measurements.md has the results.

t.test('when a media worker dies in a room of 100 members, only members with audio on that worker are affected', async (t) => {
  const { touched, untouched, againMs, silenceMs, lost, speakersAgainMs } = await killWorkers(t, { members: 100, listeners: 8 })
  t.comment(`| worker killed | ${touched} members were on it, ${untouched} were not; longest silence ${againMs} ms, of the others ${silenceMs} ms, ${lost} packets lost; worker of the speakers: heard again after ${speakersAgainMs} ms |`)
  t.ok(againMs <= 1000, `heard again after ${againMs} ms`)
  t.ok(silenceMs < 200, `${silenceMs} ms without sound elsewhere`)
  t.equal(lost, 0)
  t.ok(speakersAgainMs <= 2000, `the speakers are heard again after ${speakersAgainMs} ms`)
})
