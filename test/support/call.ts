import type { Page } from 'playwright-core'
import type { Test } from 'tap'
import { build } from './build.ts'
import type { TestServer } from './build.ts'
import { expectTone, openBrowser, receptionOf, visit } from './browser.ts'
import type { PersonBrowser, Reception } from './browser.ts'
import { until } from './retry.ts'

/**
 * Two users who talk to each other on the stage page. Ada, the owner, sends a 440 Hz tone, and Bob sends a 1000 Hz
 * tone.
 */
export interface Call {
  server: TestServer
  ada: Page
  bob: Page
  bobsBrowser: PersonBrowser
  /** Waits until each user receives the other user's tone. */
  hearEachOther (): Promise<unknown>
  /**
   * Waits until both users have received half a second of audio (25 packets), and checks that the streams are unchanged
   * and complete.
   */
  keepsFlowing (t: Test, what: string): Promise<void>
}

export interface CallOptions {
  /** Environment of the server; FEATURES contains `auth`, `media` and `stage`. */
  env: Record<string, string>
  room?: string
  /** Prepares a page before it is opened. */
  prepare?: (page: Page) => Promise<void>
  /** Returns the URL at which Bob opens the stage page; by default, the server's URL. */
  bobsUrl?: (server: TestServer) => Promise<string>
}

/**
 * Starts a server in this process, and opens the pages of Ada and Bob. Resolves when each user receives the other
 * user's tone.
 */
export async function startCall (t: Test, { env, room = 'r1', prepare, bobsUrl }: CallOptions): Promise<Call> {
  const [server, adasBrowser, bobsBrowser] = await Promise.all([build(t, { env }), openBrowser(t, 440), openBrowser(t, 1000)])
  const options = { room, ...(prepare ? { prepare } : {}) }
  const ada = await visit(t, adasBrowser, server.url, { name: 'Ada', ...options })
  const bob = await visit(t, bobsBrowser, await bobsUrl?.(server) ?? server.url, { name: 'Bob', ...options })
  const received = async () => [await receptionOf(bob, 'Ada'), await receptionOf(ada, 'Bob')] as [Reception, Reception]
  const hearEachOther = () => Promise.all([expectTone(bob, 'Ada', 440), expectTone(ada, 'Bob', 1000)])
  await hearEachOther()
  return {
    server,
    ada,
    bob,
    bobsBrowser,
    hearEachOther,
    async keepsFlowing (t, what) {
      const before = await received()
      const after = await until(async () => {
        const now = await received()
        return now.every((reception, i) => reception.packetsReceived >= (before[i]?.packetsReceived ?? 0) + 25) && now
      })
      t.same(after.map(({ producerId }) => producerId), before.map(({ producerId }) => producerId), `${what}: the streams are unchanged`)
      t.same(after.map(({ packetsLost }, i) => packetsLost - (before[i]?.packetsLost ?? 0)), [0, 0], `${what}: no packet is lost`)
    }
  }
}
