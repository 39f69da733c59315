import { createReadStream, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { extname, join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { installClient } from '../client/package.ts'
import { build, tokenFor } from '../support/build.ts'
import { expectTone, openBrowser, personOn, receptionOf, visit } from '../support/browser.ts'
import { until } from '../support/retry.ts'

declare global {
  interface Window {
    /** The audio elements of the page. */
    elements: HTMLAudioElement[]
  }
}

const types: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript', '.map': 'application/json' }

/**
 * Creates a web site whose backend issues a token for the logged-in user.
 *
 * @param given returns the server URL to insert into the example
 * @returns the origin of the site
 */
async function createSite (t: Test, folder: string, given: () => string): Promise<string> {
  const site = createServer((request, response) => {
    const path = request.url ?? '/'
    if (path === '/token') return response.end(tokenFor(7, { name: 'Ada' }))
    response.setHeader('content-type', types[extname(path)] ?? 'text/plain')
    if (path.endsWith('.html')) return response.end(readFileSync(join(folder, path), 'utf8').replace('https://audio.example.com', given()))
    createReadStream(join(folder, path)).on('error', () => response.writeHead(404).end()).pipe(response)
  })
  await new Promise<void>((resolve) => site.listen(0, '127.0.0.1', resolve))
  t.teardown(() => site.close())
  return `http://127.0.0.1:${(site.address() as AddressInfo).port}`
}

t.test('the browser example of the package joins and speaks from another origin', async (t) => {
  const folder = installClient(t)
  let url = ''
  const origin = await createSite(t, folder, () => url)
  const [server, adasBrowser, bobsBrowser] = await Promise.all([
    build(t, { env: { FEATURES: 'auth,media,seats,chat,stage', CORS_ORIGINS: origin } }),
    openBrowser(t, 440),
    openBrowser(t, 1000)
  ])
  url = server.url
  const bob = await visit(t, bobsBrowser, url, { name: 'Bob', room: 'lobby' })
  const context = await adasBrowser.newContext({ permissions: ['microphone'] })
  const ada = await context.newPage()
  ada.on('pageerror', (error) => t.fail(`the example has an error: ${error.stack}`))
  // Noise suppression would remove a constant tone.
  await ada.addInitScript(() => {
    const { mediaDevices } = navigator
    const open = mediaDevices.getUserMedia.bind(mediaDevices)
    mediaDevices.getUserMedia = () => open({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } })
    // Record the audio elements, because the client does not add them to the document.
    const { Audio: Original } = window
    window.elements = []
    window.Audio = function () {
      const element = new Original()
      window.elements.push(element)
      return element
    } as unknown as typeof Audio
  })
  await ada.goto(`${origin}/speak.html`)
  await ada.getByRole('button', { name: 'Join and speak' }).click()

  await expectTone(bob, 'Ada', 440)
  await personOn(bob, 'Ada', 'speaking').waitFor()
  const before = await receptionOf(bob, 'Ada')
  const after = await until(async () => {
    const now = await receptionOf(bob, 'Ada')
    return now !== undefined && now.packetsReceived >= (before?.packetsReceived ?? 0) + 50 && now
  })
  t.equal(after.packetsLost, 0)
  t.comment(`${after.packetsReceived} packets received from the example`)

  await ada.getByText('Bob: speaking').waitFor()
  t.equal(await ada.title(), 'in')
  await until(() => ada.evaluate(() => window.elements.filter(({ currentTime, paused, srcObject }) => srcObject !== null && !paused && currentTime > 0.5).length === 1))
  await bob.getByRole('button', { name: 'Leave', exact: true }).click()
  await until(() => ada.evaluate(() => window.elements.every(({ srcObject }) => srcObject === null)))
  await until(async () => (await ada.locator('li').allTextContents()).every((line) => line.startsWith('Ada: ')))
  await context.close()
})
