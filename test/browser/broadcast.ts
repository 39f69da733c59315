import { join, resolve } from 'node:path'
import type { Page } from 'playwright-core'
import type { Test } from 'tap'
import { build } from '../support/build.ts'
import { openBrowser, visit } from '../support/browser.ts'

export const phone = { width: 360, height: 740 }

/** Waits until a page shows a status message that contains `text`. */
export const sign = (page: Page, text: string) => page.getByRole('status').filter({ hasText: text }).waitFor()

/** If the environment variable LOOKS contains the path of a folder, saves a screenshot in that folder. */
export async function take (page: Page, name: string): Promise<void> {
  const folder = process.env.LOOKS
  if (folder !== undefined) await page.screenshot({ path: join(resolve(folder), `${name}.png`) })
}

/** Opens Ada's room `evening`, in which Ada sends a 1000 Hz tone from a phone. */
export async function openEvening (t: Test) {
  const [server, browser] = await Promise.all([
    build(t, { env: { FEATURES: 'auth,media,seats,moderation,lobby,broadcast,recording,stage', MEDIASOUP_WORKERS: '1' } }),
    openBrowser(t, 1000)
  ])
  return {
    server,
    browser,
    ada: await visit(t, browser, server.url, { name: 'Ada', room: 'evening', ...{ viewport: phone } }),
    /** Opens a room's listening page. Listeners need no account. */
    async listen (roomId: string, viewport?: typeof phone, onRequest?: (url: string) => void): Promise<Page> {
      const context = await browser.newContext({ reducedMotion: 'reduce', ...(viewport ? { viewport, colorScheme: 'dark' } : {}) })
      const page = await context.newPage()
      page.setDefaultTimeout(20_000)
      if (onRequest) page.on('request', (request) => onRequest(request.url()))
      page.on('pageerror', (error) => t.fail(`the listening page has an error: ${error.stack}`))
      page.on('console', (message) => { if (message.text().startsWith('The player failed')) t.fail(message.text()) })
      await page.goto(`${server.url}/listen/${roomId}`)
      return page
    }
  }
}
