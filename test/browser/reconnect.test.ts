import t from 'tap'
import { build } from '../support/build.ts'
import { expectTone, nextSoundFrom, openBrowser, personOn, receptionOf, seatOn, visit } from '../support/browser.ts'
import { until } from '../support/retry.ts'

const [server, adasBrowser, bobsBrowser] = await Promise.all([
  build(t, { env: { FEATURES: 'auth,media,seats,chat,gifts,stage' } }),
  openBrowser(t, 440),
  openBrowser(t, 1000)
])
const ada = await visit(t, adasBrowser, server.url, { name: 'Ada', room: 'r1' })
const bob = await visit(t, bobsBrowser, server.url, { name: 'Bob', room: 'r1' })
await Promise.all([expectTone(bob, 'Ada', 440), expectTone(ada, 'Bob', 1000)])

t.test('restores a media connection that was lost for some seconds', async (t) => {
  const before = await receptionOf(bob, 'Ada')
  for (const page of [ada, bob]) {
    await page.evaluate(() => {
      const connection = (window.flylive as NonNullable<typeof window.flylive>).connection
      connection.request = new Proxy(connection.request, {
        apply (request, _this, args: Parameters<typeof connection.request>) {
          if (args[0] === 'transport:restartIce') document.documentElement.dataset.restarts = 'yes'
          return Reflect.apply(request, connection, args)
        }
      })
    })
  }

  // For a browser, a suspended media worker looks like a lost network connection.
  const { pid } = server.app.sfu.workers()[0] as { pid: number }
  process.kill(pid, 'SIGSTOP')
  t.teardown(() => { try { process.kill(pid, 'SIGCONT') } catch { /* The worker has exited. */ } })
  await until(async () => (await Promise.all([ada, bob].map((page) => page.evaluate(() => document.documentElement.dataset.restarts)))).includes('yes'), 40_000)
  process.kill(pid, 'SIGCONT')

  await Promise.all([expectTone(bob, 'Ada', 440), expectTone(ada, 'Bob', 1000)])
  const after = await receptionOf(bob, 'Ada')
  t.equal(after?.producerId, before?.producerId, 'the stream is unchanged')
  t.equal(server.app.sfu.producersOf('r1').length, 2)
  for (const page of [ada, bob]) await page.getByRole('status').filter({ hasText: /^Connected$/ }).waitFor()
})

t.test('all clients reconnect', async (t) => {
  const before = [...server.app.sockets.all()].map(({ id }) => id)
  const sounds = await Promise.all([nextSoundFrom(bob, 'Ada'), nextSoundFrom(ada, 'Bob')])
  const lostAt = Date.now()
  for (const session of server.app.sockets.all()) session.terminate()
  const times = await Promise.all(sounds.map((sound) => sound.arrived()))
  t.comment(`Ada and Bob are audible again after ${times.map((at) => at - lostAt).join(' and ')} ms`)
  await Promise.all([expectTone(bob, 'Ada', 440), expectTone(ada, 'Bob', 1000)])
  t.equal((await receptionOf(bob, 'Ada'))?.packetsLost, 0)
  for (const page of [ada, bob]) {
    await page.getByRole('status').filter({ hasText: /^Connected$/ }).waitFor()
    t.equal(await page.getByRole('list', { name: 'In the room' }).getByRole('listitem').count(), 2, 'no user is listed twice')
    await seatOn(page, page === ada ? 'Seat 2: Bob' : 'Seat 1: Ada').waitFor()
  }
  t.notOk([...server.app.sockets.all()].some(({ id }) => before.includes(id)))
})

t.test('one client reconnects', async (t) => {
  const adasId = await ada.evaluate(() => window.flylive?.connection.greeting?.sessionId)
  const bobs = await receptionOf(ada, 'Bob')
  const sound = await nextSoundFrom(bob, 'Ada')
  server.app.sockets.get(adasId as string)?.terminate()
  await sound.arrived()
  await Promise.all([expectTone(bob, 'Ada', 440), expectTone(ada, 'Bob', 1000)])
  t.equal(server.app.sfu.producersOf('r1').some(({ producerId }) => producerId === bobs?.producerId), true, 'Bob keeps his producer')
  await personOn(bob, 'Ada', 'speaking').waitFor()
})

t.test('a muted client reconnects', async (t) => {
  await ada.getByRole('button', { name: 'Mute', exact: true }).click()
  await personOn(bob, 'Ada', 'muted').waitFor()
  const adasId = await ada.evaluate(() => window.flylive?.connection.greeting?.sessionId)
  server.app.sockets.get(adasId as string)?.terminate()
  await until(() => ada.evaluate((id) => window.flylive?.state === 'in' && window.flylive.connection.greeting?.sessionId !== id, adasId))
  await until(() => server.app.sfu.producersOf('r1').some(({ isPaused }) => isPaused))
  await expectTone(bob, 'Ada', 0)
  await ada.getByRole('button', { name: 'Unmute' }).click()
  await expectTone(bob, 'Ada', 440)
  t.pass('the mute is kept')
})

t.test('a kicked client does not reconnect', async (t) => {
  const adasId = await ada.evaluate(() => window.flylive?.connection.greeting?.userId)
  t.equal((await server.admin('POST', '/admin/rooms/r1/kick', { userId: adasId })).status, 204)
  await ada.getByRole('button', { name: 'Join', exact: true }).waitFor()
  t.match(await ada.getByRole('alert').filter({ visible: true }).textContent(), 'removed from the room')
  await personOn(bob, 'Ada').waitFor({ state: 'detached' })
  await until(() => [...server.app.sockets.all()].filter(({ roomId }) => roomId !== null).length === 1)
})
