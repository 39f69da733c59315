import { once } from 'node:events'
import { MessageChannel } from 'node:worker_threads'
import type { Worker } from 'node:worker_threads'
import t from 'tap'
import { Packager } from '../../../features/broadcast/packager.ts'
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

t.test('the packager thread releases the input of a channel that has failed', async (t) => {
  const started = Promise.withResolvers<Worker>()
  process.once('worker', started.resolve)
  const packager = new Packager()
  t.teardown(async () => await packager.close())
  const failed = Promise.withResolvers<string>()
  const channel = packager.open(Date.now(), { init () {}, part () {}, inputClosed () {}, failed: failed.resolve })
  const { port1, port2 } = new MessageChannel()
  channel.input(port2)
  const worker = await started.promise
  // The thread has opened the channel.
  await once(worker, 'message')
  let isReleased = false
  port1.once('close', () => { isReleased = true })
  worker.emit('message', { type: 'failed', channel: 1, message: 'the encoder failed' })
  t.equal(await failed.promise, 'the encoder failed')
  await until(() => isReleased)
})
