import { launch } from 'puppeteer-core'
import type { Page } from 'puppeteer-core'
import type { Test } from 'tap'
import { findBrowser, measureFrequency } from './browser.ts'
import { until } from './retry.ts'

/** The frequency of Firefox's fake microphone, in hertz. */
export const firefoxHz = 1000

/** Uses Puppeteer, which can drive an installed Firefox over WebDriver BiDi. Playwright needs its own build. */
export async function openFirefox (t: Test): Promise<Page> {
  const browser = await launch({
    browser: 'firefox',
    executablePath: findBrowser(['firefox-esr', 'firefox'], 'FIREFOX_PATH'),
    extraPrefsFirefox: {
      'media.navigator.streams.fake': true,
      'media.navigator.permission.disabled': true,
      'media.autoplay.default': 0,
      // Without a sound card, an AudioContext does not start.
      'media.cubeb.force_mock_context': true
    }
  })
  t.teardown(() => browser.close())
  const page = await browser.newPage()
  page.on('pageerror', (error) => t.fail(`the page in Firefox has an error: ${String(error)}`))
  page.setDefaultTimeout(15_000)
  return page
}

/** Waits until a page in Firefox receives a user's tone, to within 2 Hz. */
export async function expectToneIn (page: Page, name: string, hz: number): Promise<void> {
  await until(async () => Math.abs(await page.evaluate(measureFrequency, name) - hz) < 2, 30_000)
}
