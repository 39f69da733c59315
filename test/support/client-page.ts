import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { build as bundle } from 'esbuild'
import type { Page } from 'playwright-core'
import type { Test } from 'tap'
import type { AudioOptions, RoomClient } from '../../client/index.ts'
import { tokenFor } from './build.ts'
import type { PersonBrowser } from './browser.ts'

declare global {
  interface Window {
    RoomClient: typeof RoomClient
  }
}

/** A web site with a single page, which loads only the client package. */
export interface ClientSite {
  /** The site's origin, which must be in the server's CORS_ORIGINS. */
  readonly origin: string
  /** Opens the page. The client is `window.RoomClient`. */
  open (browser: PersonBrowser, prepare?: (page: Page) => Promise<unknown>): Promise<Page>
}

let bundled: ReturnType<typeof bundleClient> | undefined

/** Bundles the client package once per process. */
const bundleClient = () => bundle({ entryPoints: [join(import.meta.dirname, '../../client/index.ts')], bundle: true, format: 'esm', write: false, target: 'es2022' })

/** Serves the site until the test ends. Page errors fail the test. */
export async function clientSite (t: Test): Promise<ClientSite> {
  const { outputFiles: [client] } = await (bundled ??= bundleClient())
  const site = createServer((request, response) => {
    const isClient = request.url === '/client.js'
    response.setHeader('content-type', isClient ? 'text/javascript' : 'text/html')
    response.end(isClient ? client?.text : '<!doctype html><script type="module">import { RoomClient } from "/client.js"; window.RoomClient = RoomClient</script>')
  })
  await new Promise<void>((resolve) => site.listen(0, '127.0.0.1', resolve))
  t.teardown(() => site.close())
  const origin = `http://127.0.0.1:${(site.address() as AddressInfo).port}`
  return {
    origin,
    async open (browser, prepare) {
      const context = await browser.newContext({ permissions: ['microphone'] })
      const page = await context.newPage()
      page.on('pageerror', (error) => t.fail(`a page has an error: ${error.stack}`))
      await prepare?.(page)
      await page.goto(origin)
      await page.waitForFunction(() => window.RoomClient !== undefined)
      return page
    }
  }
}

export interface EnterOptions {
  url: string
  roomId: string
  id: number
  name?: string
  audio?: AudioOptions
}

/** Joins a room; the client is `window.flylive`. */
export async function enterOn (page: Page, { url, roomId, id, name = `User ${id}`, audio = {} }: EnterOptions): Promise<void> {
  await page.evaluate(async ({ url, token, roomId, audio }) => {
    const room = window.flylive = new window.RoomClient({ url, token: () => token, audio })
    await room.join(roomId)
  }, { url, token: tokenFor(id, { name }), roomId, audio })
}
