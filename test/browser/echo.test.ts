import { cpSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { build } from '../support/build.ts'
import { expectTone, frequencyOf, openBrowser } from '../support/browser.ts'
import { clientSite, enterOn } from '../support/client-page.ts'
import { featureFolder } from '../support/features.ts'
import { until } from '../support/retry.ts'

// A user sends a tone in one room. The `echo` feature (test/fixtures) plays the tone in another room, where a browser
// receives it. Both clients run on one page, because each page takes a lot of CPU time.

const folder = featureFolder(t)
cpSync(join(import.meta.dirname, '..', 'fixtures', 'features', 'echo'), join(folder.path, 'echo'), { recursive: true })
const site = await clientSite(t)
const [server, browser] = await Promise.all([
  build(t, { env: { FEATURES: 'auth,media,echo', FEATURES_PATH: folder.path, CORS_ORIGINS: site.origin } }),
  openBrowser(t, 440)
])
const bob = await site.open(browser)
await enterOn(bob, { url: server.url, roomId: 'studio', id: 1, audio: { receive: false } })
await bob.evaluate(async () => {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true })
  await window.flylive?.audio?.publish(stream.getAudioTracks()[0] as MediaStreamTrack)
})
await enterOn(bob, { url: server.url, roomId: 'foyer', id: 2, audio: { play: true } })
const listener = await server.connect('listener')
await listener.ok('room:join', { roomId: 'studio' })
const { producerId } = await listener.ok('echo:start', { to: 'foyer' })

t.test('the browser receives the tone', async (t) => {
  await expectTone(bob, 'echo', 440)
  t.comment(`measured: ${await frequencyOf(bob, 'echo')} Hz`)
})

t.test('playback continues across reloads', async (t) => {
  await server.app.features.reload('echo')
  t.match(server.app.sfu.producersOf('foyer'), [{ producerId }])
  await expectTone(bob, 'echo', 440)
})

t.test('playback recovers after a media worker dies', async (t) => {
  const pid = server.app.sfu.workers()[0]?.pid as number
  process.kill(pid, 'SIGKILL')
  await until(() => server.app.sfu.workers().some((worker) => worker.pid !== pid))
  await until(() => server.app.sfu.producersOf('studio').length === 1 && server.app.sfu.producersOf('foyer').length === 1)
  await expectTone(bob, 'echo', 440)
  t.match(server.app.sfu.producersOf('foyer'), [{ producerId }], 'the producer id is unchanged')
})

t.test('playback ends when the feature is disabled', async (t) => {
  await server.app.features.disable('echo')
  t.same(server.app.sfu.producersOf('foyer'), [])
  await expectTone(bob, 'echo', 0)
})
