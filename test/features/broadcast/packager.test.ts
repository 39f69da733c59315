import t from 'tap'
import { Air } from '../../../features/broadcast/stations.ts'
import type { Rendition } from '../../../features/broadcast/rendition.ts'
import { BroadcastWindow } from '../../../features/broadcast/window.ts'
import { build } from '../../support/build.ts'
import { parsePlaylist } from '../../support/hls.ts'
import { until } from '../../support/retry.ts'

t.test('a packager thread that dies is replaced, and the playlist continues with later segments', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media' } })
  await (await server.connect(1)).ok('room:join', { roomId: 'r1' })
  const air = new Air()
  t.teardown(async () => await air.close())
  let restarts = 0
  air.onRestart = () => { restarts++ }
  const window = new BroadcastWindow({ startedAt: Date.now(), lowLatency: false, opus: true, discontinuities: 0 })
  const station = air.open(await server.app.sfu.mix('r1'), window, server.app.log)
  const renditions = [...window.renditions.values()]
  const text = async (rendition: Rendition) => await until(async () => {
    const answer = await rendition.playlist(undefined, undefined, '', AbortSignal.timeout(10_000))
    return answer.kind === 'found' && answer.value
  }, 30_000)
  const before = await Promise.all(renditions.map(text))
  for (const playlist of before) t.notMatch(playlist, /EXT-X-PART|EXT-X-SERVER-CONTROL|EXT-X-PRELOAD/, 'without low latency, there are no parts')
  const discontinuities = (playlist: string) => playlist.split('#EXT-X-DISCONTINUITY\n').length + parsePlaylist(playlist).discontinuitySequence
  await air.packager.crash()
  for (const [i, rendition] of renditions.entries()) {
    const earlier = before[i] ?? ''
    const after = await until(async () => {
      const playlist = await text(rendition)
      return discontinuities(playlist) > discontinuities(earlier) && playlist
    }, 30_000)
    t.ok(parsePlaylist(after).first >= parsePlaylist(earlier).first && parsePlaylist(after).last > parsePlaylist(earlier).last, `${rendition.codec}: later segments`)
  }
  t.equal(restarts, 1)
  t.equal(station.restarts, 1)
  await until(() => station.ageMs < 1000)
})
