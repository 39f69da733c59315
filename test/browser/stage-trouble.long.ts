import t from 'tap'
import type { Page } from 'playwright-core'
import { adminKey } from '../support/build.ts'
import { allowMicrophone, expectTone, leaveRoom, openBrowser, personOn, seatOn, visit } from '../support/browser.ts'
import { startServer } from '../support/process.ts'
import { until } from '../support/retry.ts'

// Tests how the stage reacts to rare or lengthy failures; stage-trouble.test.ts tests other failures. Ada sends a
// 440 Hz tone, and Bob sends a 1000 Hz tone.

const env = { FEATURES: 'auth,media,seats,chat,gifts,reactions,lobby,stage', MEDIASOUP_WORKERS: '1' }
let server = startServer(t, env)
const [url, adasBrowser, bobsBrowser] = await Promise.all([
  server.url,
  openBrowser(t, 440),
  openBrowser(t, 1000)
])
const room = 'r1'
const complaints: string[] = []
const ada = await visit(t, adasBrowser, url, { name: 'Ada', room, prepare: listen })
const bob = await visit(t, bobsBrowser, url, { name: 'Bob', room, prepare: listen })

async function listen (page: Page): Promise<void> {
  page.setDefaultTimeout(15_000)
  // Ignore the errors that the browser logs while a test makes the server unreachable.
  page.on('console', (message) => { if (message.type() === 'error' && !/WebSocket connection|Failed to load resource/.test(message.text())) complaints.push(message.text()) })
}
async function admin (method: string, path: string, body?: object): Promise<void> {
  const response = await fetch(url + path, {
    method,
    headers: { authorization: `Bearer ${adminKey}`, ...(body ? { 'content-type': 'application/json' } : {}) },
    ...(body ? { body: JSON.stringify(body) } : {})
  })
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`)
}
const turn = (feature: string, way: 'enable' | 'disable') => admin('POST', `/admin/features/${feature}/${way}`)
const statusOf = (page: Page, text: string | RegExp) => page.getByRole('status').filter({ hasText: text }).waitFor()
const alertOf = (page: Page, text: string) => page.getByRole('alert').filter({ hasText: text }).waitFor()
const button = (page: Page, name: string | RegExp) => page.getByRole('button', { name, exact: typeof name === 'string' })
const hearEachOther = () => Promise.all([expectTone(bob, 'Ada', 440), expectTone(ada, 'Bob', 1000)])

// The parent test must stop the restarted server, because later tests need that server.
const suite = t
t.test('recovers from a server restart', async (t) => {
  const { port } = new URL(url)
  await ada.getByLabel('Message').fill('half a sen')
  server.child.kill('SIGKILL')
  await server.exit
  for (const page of [ada, bob]) await statusOf(page, 'Reconnecting…')
  t.equal(await ada.getByRole('heading', { name: room }).isVisible(), true, 'the room stays visible')
  server = startServer(suite, { ...env, PORT: port })
  await server.url
  for (const page of [ada, bob]) await statusOf(page, /^Connected$/)
  await hearEachOther()
  t.equal(await ada.getByLabel('Message').inputValue(), 'half a sen', 'the draft message is kept')
  await ada.getByLabel('Message').fill('')
  await button(ada, /^Connection/).click()
  await ada.getByRole('dialog').getByText(/Reconnects\s*1/).waitFor()
  await ada.keyboard.press('Escape')
})

t.test('explains a blocked microphone', async (t) => {
  const cyd = await visit(t, bobsBrowser, url, { name: 'Cyd', room, microphone: false })
  await button(cyd, 'Speak').click()
  await alertOf(cyd, 'Your browser blocks the microphone. Allow the microphone with the icon next to the address bar, then try again.')
  await statusOf(cyd, 'Connected, listening')
  t.equal(await cyd.getByRole('group', { name: 'Seats' }).getByRole('button', { name: /you/ }).count(), 0, 'a user without a microphone takes no seat')
  await allowMicrophone(cyd)
  await button(cyd, 'Try again').click()
  await statusOf(cyd, /^Connected$/)
  await expectTone(ada, 'Cyd', 1000)
  t.equal(await cyd.getByRole('alert').count(), 0)
  await button(cyd, 'Leave seat').click()
  await cyd.evaluate(() => {
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotFoundError'))
  })
  await seatOn(cyd, 'Take seat 5').click()
  await alertOf(cyd, 'No microphone found. Connect one, then try again.')
  await seatOn(cyd, 'Seat 5: you').waitFor()
  await button(cyd, 'Turn on microphone').waitFor()
  await leaveRoom(cyd)
  await button(cyd, 'Test microphone').click()
  await alertOf(cyd, 'No microphone found')
  await cyd.context().close()
})

/** Mutes or unmutes Bob's microphone (as the operating system does during a phone call), or ends the track. */
const microphoneEvent = (type: 'mute' | 'unmute' | 'ended') => bob.evaluate((type) => {
  const track = window.flylive?.audio?.sender?.track as MediaStreamTrack
  Object.defineProperty(track, 'muted', { value: type === 'mute', configurable: true })
  track.dispatchEvent(new Event(type))
}, type)

t.test('waits for a microphone that another app uses', async () => {
  await bob.evaluate(() => {
    const { mediaDevices } = navigator
    const open = mediaDevices.getUserMedia
    mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotReadableError'))
    Object.assign(window, { endCall: () => { mediaDevices.getUserMedia = open } })
  })
  await microphoneEvent('ended')
  await statusOf(bob, 'Connected, microphone paused by your device')
  await personOn(ada, 'Bob', 'muted').waitFor()
  await bob.evaluate(() => (window as unknown as { endCall: () => void }).endCall())
  await statusOf(bob, /^Connected$/)
  await hearEachOther()
})

t.test('by default, the client replaces an ended track only if it came from a microphone', async (t) => {
  const outcome = await bob.evaluate(async () => {
    const audio = window.flylive?.audio as NonNullable<NonNullable<typeof window.flylive>['audio']>
    const next = (event: 'replaced' | 'refused') => new Promise<unknown>((resolve) => {
      if (event === 'replaced') audio.on(event, resolve)
      else audio.on(event, resolve)
    })
    // Call the browser's original getUserMedia, because the page's getUserMedia is replaced by a function that returns
    // a tone.
    const device = await MediaDevices.prototype.getUserMedia.call(navigator.mediaDevices, { audio: true })
    const [microphone] = device.getAudioTracks() as [MediaStreamTrack]
    await audio.publish(microphone)
    const replaced = next('replaced')
    microphone.dispatchEvent(new Event('ended'))
    const replacement = await replaced as MediaStreamTrack
    microphone.stop()
    // The client does not replace a track that comes from the page itself and not from a device.
    const generated = new AudioContext().createMediaStreamDestination().stream.getAudioTracks()[0] as MediaStreamTrack
    await audio.publish(generated)
    const refused = next('refused')
    generated.dispatchEvent(new Event('ended'))
    return { differs: replacement !== microphone, ended: replacement.readyState, code: (await refused as Error & { code: string }).code, publishing: audio.publishing }
  })
  t.same(outcome, { differs: true, ended: 'ended', code: 'TRACK_ENDED', publishing: false }, 'the client stops the track that it opened')
  await button(bob, 'Turn on microphone').click()
  await hearEachOther()
})

t.test('reports a disconnected microphone', async (t) => {
  await bob.evaluate(() => {
    const { mediaDevices } = navigator
    const open = mediaDevices.getUserMedia
    mediaDevices.getUserMedia = () => {
      mediaDevices.getUserMedia = open
      return Promise.reject(new DOMException('', 'NotFoundError'))
    }
  })
  await microphoneEvent('ended')
  await alertOf(bob, 'Microphone disconnected. You can only listen.')
  await statusOf(bob, 'Connected, listening')
  await button(bob, 'Turn on microphone').click()
  await hearEachOther()
  t.pass('the microphone can be turned on again')
})

t.test('handles a kick and a closed room', async (t) => {
  const userId = await bob.evaluate(() => window.flylive?.connection.greeting?.userId)
  await admin('POST', `/admin/rooms/${room}/kick`, { userId, banSeconds: 60 })
  await alertOf(bob, 'You were removed from the room.')
  await button(bob, 'Join').click()
  await alertOf(bob, 'You are banned')
  await admin('POST', `/admin/rooms/${room}/close`, { reason: 'closed_by_admin' })
  await alertOf(ada, 'The room was closed')
  t.equal(await ada.getByLabel('Room', { exact: true }).inputValue(), room)
})

// The following tests need no audio. Ada and Bob are not in a room.

t.test('stops the microphone if the user grants access too late', async (t) => {
  const page = await visit(t, bobsBrowser, url, {
    name: 'Ida',
    room: 'i1',
    microphone: false,
    permissions: ['microphone'],
    prepare: async (page) => {
      await listen(page)
      await page.addInitScript(() => {
        const devices = navigator.mediaDevices
        const ask = devices.getUserMedia.bind(devices)
        const tracks: MediaStreamTrack[] = []
        let answer = () => {}
        devices.getUserMedia = async (constraints) => {
          await new Promise<void>((resolve) => { answer = resolve })
          const stream = await ask(constraints)
          tracks.push(...stream.getTracks())
          return stream
        }
        Object.assign(window, { allow: () => answer(), tracks })
      })
    }
  })
  /**
   * Grants access to the microphone and waits for `count` tracks.
   *
   * @returns the state of the last track
   */
  const allow = async (count: number) => {
    await page.evaluate(() => (window as unknown as { allow: () => void }).allow())
    const states = () => page.evaluate(() => (window as unknown as { tracks: MediaStreamTrack[] }).tracks.map(({ readyState }) => readyState))
    await until(async () => (await states()).length === count)
    return (await states()).at(-1)
  }
  await statusOf(page, 'Connected, listening')
  await seatOn(page, 'Take seat 2').click()
  await button(page, 'Leave seat').click()
  await seatOn(page, 'Take seat 2').waitFor()
  t.equal(await allow(1), 'ended', 'the user left the seat')
  await button(page, 'Speak').click()
  await leaveRoom(page)
  t.equal(await allow(2), 'ended', 'the user left the room')
  await button(page, 'Test microphone').click()
  await button(page, 'Join').click()
  await statusOf(page, 'Connected, listening')
  t.equal(await allow(3), 'ended', 'the user left the lobby')
  await page.context().close()
})

t.test('works when browser storage is blocked', async (t) => {
  const page = await visit(t, bobsBrowser, url, {
    name: 'Jo',
    room: 'j1',
    microphone: false,
    prepare: async (page) => {
      await listen(page)
      await page.addInitScript(() => {
        const get = () => { throw new DOMException('Access is denied for this document.', 'SecurityError') }
        for (const name of ['localStorage', 'sessionStorage']) Object.defineProperty(window, name, { get })
      })
    }
  })
  await statusOf(page, 'Connected, listening')
  await leaveRoom(page)
  t.equal(await page.getByLabel('Your name').inputValue(), 'Jo')
  await page.context().close()
})

t.test('explains that an insecure page has no microphone', async (t) => {
  const page = await visit(t, adasBrowser, url.replace('127.0.0.1', 'elsewhere.test'), {
    name: 'Eve',
    room,
    microphone: false,
    // On an insecure page, the client identifies the browser only by its user agent, so hide that the browser is
    // headless.
    userAgent: (await ada.evaluate(() => navigator.userAgent)).replace('Headless', '')
  })
  await statusOf(page, 'Connected, listening')
  await button(page, 'Speak').click()
  await alertOf(page, 'Browsers allow microphone access only on https or localhost')
  await statusOf(page, 'Connected, listening')
  await page.context().close()
})

let lobbyPage: Page
t.test('explains that the server does not list its rooms', async (t) => {
  await ada.getByLabel('Room', { exact: true }).fill('h1')
  await button(ada, 'Join').click()
  await statusOf(ada, 'Connected, listening')
  await turn('lobby', 'disable')
  const page = await visit(t, bobsBrowser, url, { name: 'Fay', room: 'f1', microphone: false })
  await leaveRoom(page)
  await page.getByText('This server does not list its rooms').waitFor()
  const listed = page.getByRole('list', { name: 'Active rooms' }).getByText('h1', { exact: true })
  await turn('lobby', 'enable')
  await listed.waitFor()
  await turn('lobby', 'disable')
  await page.getByText('This server does not list its rooms').waitFor()
  t.equal(await listed.count(), 0)
  await turn('lobby', 'enable')
  await listed.waitFor()
  lobbyPage = page
})

t.test('leaves the room even if the server does not reply', async () => {
  await lobbyPage.getByLabel('Room', { exact: true }).fill('k1')
  await button(lobbyPage, 'Join').click()
  await statusOf(lobbyPage, 'Connected, listening')
  await lobbyPage.evaluate(() => { WebSocket.prototype.send = () => {} })
  await leaveRoom(lobbyPage)
  await lobbyPage.context().close()
})

t.test('a link with a token joins without creating a guest', async (t) => {
  const { token } = await (await fetch(`${url}/stage/session`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"name":"Gus"}' })).json() as { token: string }
  const context = await bobsBrowser.newContext()
  const page = await context.newPage()
  await page.goto(`${url}/#room=g1&name=Gus&token=${token}`)
  t.notMatch(page.url(), token, 'the token is removed from the address')
  t.equal(await page.getByLabel('Access token').inputValue(), token)
  await button(page, 'Join').click()
  await personOn(page, 'Gus').waitFor()
  await leaveRoom(page)
  await page.getByLabel('Access token').fill(`${token}x`)
  await button(page, 'Join').click()
  await page.getByRole('alert').waitFor()
  await context.close()
})

t.test('announces a draining server', async () => {
  server.child.kill('SIGTERM')
  await alertOf(ada, 'This server will shut down')
})

t.test('no page logs an unexpected error', async (t) => {
  t.same(complaints, [])
})
