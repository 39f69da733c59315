import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { Publication } from '../../client/publication.ts'

t.test('the client does not open a busy microphone again after the track is unpublished', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const track = Object.assign(new EventTarget(), { enabled: true, muted: false }) as unknown as MediaStreamTrack
  let opened = 0
  const reopen = async () => {
    opened++
    throw new DOMException('The microphone is busy', 'NotReadableError')
  }
  const publication = new Publication(track, { reopen }, { changed () {}, replaced () {}, ended () {} })
  track.dispatchEvent(new Event('ended'))
  await turn()
  mock.timers.tick(500)
  await turn()
  t.equal(opened, 2, 'while the microphone is busy, the client tries again')
  publication.withdraw(new Error('The track was unpublished'))
  mock.timers.tick(5000)
  await turn()
  t.equal(opened, 2)
})
