import type { Locator, Page } from 'playwright-core'
import type { Test } from 'tap'
import { openBrowser } from '../../support/browser.ts'
import { adminKey } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'

export const features = 'auth,media,seats,chat,gifts,stage'
export const env = { FEATURES: features, MEDIASOUP_WORKERS: '1' }
export const phone = { width: 360, height: 740 }

/** Opens the page in a new browser context. Errors in the page fail the test. */
export async function open (t: Test, server: TestServer, hash = ''): Promise<Page> {
  const browser = await openBrowser(t, 440)
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } })
  t.teardown(() => context.close())
  context.setDefaultTimeout(15_000)
  const page = await context.newPage()
  page.on('pageerror', (error) => t.fail(`the page has an error: ${error.stack}`))
  // The browser logs each rejected call as an error that starts with this text.
  page.on('console', (line) => { if (line.type() === 'error' && !line.text().startsWith('Failed to load resource')) t.fail(`the console logged an error: ${line.text()}`) })
  page.on('request', (request) => { if (!request.url().startsWith(server.url)) t.fail(`the page requests ${request.url()}`) })
  await page.goto(`${server.url}/admin${hash}`)
  return page
}

export const give = async (page: Page, key: string, label = 'Admin key') => {
  await page.getByLabel(label, { exact: true }).fill(key)
  await page.getByRole('button', { name: 'Enter' }).click()
}

export async function enter (t: Test, server: TestServer, hash = ''): Promise<Page> {
  const page = await open(t, server, hash)
  await give(page, adminKey)
  await page.getByRole('navigation').waitFor()
  return page
}

/** Waits until the page reports a result. */
export const announces = (page: Page, text: string | RegExp) => page.getByRole('status').filter({ hasText: text }).first().waitFor()
export const alerted = (page: Page, text: string | RegExp) => page.getByRole('alert').filter({ hasText: text }).first().waitFor()
export const press = (within: Page | Locator, name: string) => within.getByRole('button', { name, exact: true }).click()
export const gone = (locator: Locator) => locator.waitFor({ state: 'detached' })
export const heading = (page: Page, name: string) => page.getByRole('heading', { name, exact: true })
