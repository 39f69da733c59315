import t from 'tap'
import type { Page } from 'playwright-core'
import type { Test } from 'tap'
import { adminKey, build } from '../support/build.ts'
import type { TestServer } from '../support/build.ts'
import { expectTone, nextSoundFrom, openBrowser, receptionOf, visit } from '../support/browser.ts'
import { until } from '../support/retry.ts'

const [adasBrowser, bobsBrowser] = await Promise.all([openBrowser(t, 440), openBrowser(t, 1000)])

/**
 * Maximum time until the audio is restored, in milliseconds. The limit is acceptable to users and leaves a margin for a
 * busy machine.
 */
const limitMs = 5000

interface Health { workers: { index: number, pid: number, routers: number }[] }

async function health (server: TestServer): Promise<Health> {
  return await (await fetch(`${server.url}/health`, { headers: { authorization: `Bearer ${adminKey}` } })).json() as Health
}

/** @returns the process id of the media worker that hosts the room */
async function busyWorker (server: TestServer): Promise<number> {
  return await until(async () => (await health(server)).workers.find(({ routers }) => routers > 0)?.pid ?? false)
}

interface Call { server: TestServer, ada: Page, bob: Page }

async function start (t: Test, workers: string): Promise<Call> {
  const server = await build(t, { env: { FEATURES: 'auth,media,seats,chat,gifts,stage', MEDIASOUP_WORKERS: workers } })
  const ada = await visit(t, adasBrowser, server.url, { name: 'Ada', room: 'r1' })
  const bob = await visit(t, bobsBrowser, server.url, { name: 'Bob', room: 'r1' })
  t.teardown(() => Promise.all([ada.context().close(), bob.context().close()]))
  await Promise.all([expectTone(bob, 'Ada', 440), expectTone(ada, 'Bob', 1000)])
  return { server, ada, bob }
}

/**
 * Records the status messages on a page, because some of them appear only briefly.
 *
 * @returns a function that returns the messages so far
 */
async function recordStatuses (page: Page): Promise<() => Promise<string[]>> {
  const texts = await page.evaluateHandle(() => {
    const found: string[] = []
    new MutationObserver(() => {
      for (const region of document.querySelectorAll('[role=status]')) found.push(region.textContent.trim())
    }).observe(document.body, { subtree: true, childList: true, characterData: true })
    return found
  })
  return async () => await texts.jsonValue()
}

async function kill (t: Test, { server, ada, bob }: Call): Promise<void> {
  const pid = await busyWorker(server)
  const sounds = await Promise.all([nextSoundFrom(bob, 'Ada'), nextSoundFrom(ada, 'Bob')])
  const shown = await Promise.all([ada, bob].map(recordStatuses))
  const killedAt = Date.now()
  process.kill(pid, 'SIGKILL')
  const [adaMs, bobMs] = (await Promise.all(sounds.map((sound) => sound.arrived()))).map((at) => at - killedAt) as [number, number]
  t.comment(`Ada is audible again after ${adaMs} ms, Bob after ${bobMs} ms`)
  t.ok(adaMs < limitMs && bobMs < limitMs, `both are audible again within ${limitMs} ms`)
  await Promise.all([expectTone(bob, 'Ada', 440), expectTone(ada, 'Bob', 1000)])
  t.equal((await receptionOf(bob, 'Ada'))?.packetsLost, 0)
  t.equal((await receptionOf(ada, 'Bob'))?.packetsLost, 0)
  for (const page of [ada, bob]) await page.getByRole('status').filter({ hasText: /^Connected$/ }).waitFor()
  for (const texts of shown) t.ok((await texts()).includes('Connecting audio…'), 'the page shows the interruption')
  t.notOk((await health(server)).workers.some((worker) => worker.pid === pid))
}

t.test('restores audio when the only media worker is killed repeatedly', async (t) => {
  const call = await start(t, '1')
  const { server, ada, bob } = call
  await kill(t, call)

  t.comment('kill a worker and its replacement')
  const pid = await busyWorker(server)
  process.kill(pid, 'SIGKILL')
  // Kill the replacement worker as soon as it runs, while the pages are still reconnecting.
  const next = await until(() => server.app.sfu.workers().find((worker) => worker.pid !== pid)?.pid ?? false)
  process.kill(next, 'SIGKILL')
  await until(() => server.app.sfu.workers().some((worker) => worker.pid !== pid && worker.pid !== next))
  await Promise.all([expectTone(bob, 'Ada', 440), expectTone(ada, 'Bob', 1000)])
  t.equal(server.app.sfu.producersOf('r1').length, 2, 'only the new producers exist')
})

t.test('restores audio when one of two media workers is killed', async (t) => {
  const call = await start(t, '2')
  await kill(t, call)
  await until(async () => (await health(call.server)).workers.length === 2)
  t.equal(call.server.app.sfu.producersOf('r1').length, 2, 'only the new producers exist')

  t.comment('a muted user stays muted')
  const { server, ada, bob } = call
  await ada.getByRole('button', { name: 'Mute', exact: true }).click()
  await expectTone(bob, 'Ada', 0)
  const sound = await nextSoundFrom(ada, 'Bob')
  process.kill(await busyWorker(server), 'SIGKILL')
  await sound.arrived()
  await until(() => server.app.sfu.producersOf('r1').some(({ isPaused }) => isPaused))
  await ada.getByRole('button', { name: 'Unmute' }).waitFor()
  t.equal(server.app.sfu.producersOf('r1').length, 2)
  await ada.getByRole('button', { name: 'Unmute' }).click()
  await expectTone(bob, 'Ada', 440)
})
