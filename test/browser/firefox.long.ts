import t from 'tap'
import { build } from '../support/build.ts'
import { expectTone, openBrowser, personOn, seatOn, visit } from '../support/browser.ts'
import { expectToneIn, firefoxHz, openFirefox } from '../support/firefox.ts'
import { until } from '../support/retry.ts'

// Tests Firefox and Chromium in one room, on a server with the defaults of `npm start`. Firefox does not use the
// loopback interface for WebRTC, so the server must announce another address of this machine.

const [server, browser, firefox] = await Promise.all([
  build(t, { env: { NODE_ENV: 'development', FEATURES_WATCH: 'false', FEATURES: 'auth,media,seats,stage', MEDIASOUP_WORKERS: '1' } }),
  openBrowser(t, 440),
  openFirefox(t)
])
const ada = await visit(t, browser, server.url, { name: 'Ada', room: 'r1' })
await firefox.goto(`${server.url}/#room=r1&name=Bob`)
await firefox.locator('::-p-aria(Original sound)').click()
await firefox.locator('::-p-aria([name="Join"][role="button"])').click()

t.test('Firefox receives audio from Chromium before Firefox uses a microphone', async (t) => {
  await expectToneIn(firefox, 'Ada', 440)
  t.pass('440 Hz')
})

t.test('Chromium receives audio from Firefox', async (t) => {
  await firefox.locator('::-p-aria([name="Speak"][role="button"])').click()
  await expectTone(ada, 'Bob', firefoxHz)
  await seatOn(ada, 'Seat 2: Bob').waitFor()
  await personOn(ada, 'Bob', 'speaking').waitFor()
  t.pass(`${firefoxHz} Hz`)
})

t.test('both receive audio again after a lost connection', async (t) => {
  const before = [...server.app.sockets.all()].map(({ id }) => id)
  for (const session of server.app.sockets.all()) session.terminate()
  await until(() => [...server.app.sockets.all()].filter(({ id, roomId }) => !before.includes(id) && roomId === 'r1').length === 2)
  await Promise.all([expectToneIn(firefox, 'Ada', 440), expectTone(ada, 'Bob', firefoxHz)])
  await seatOn(ada, 'Seat 2: Bob').waitFor()
  t.equal(await ada.getByRole('list', { name: 'In the room' }).getByRole('listitem').count(), 2)
})
