import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { build } from '../support/build.ts'
import { expectTone, openBrowser, visit } from '../support/browser.ts'
import { until } from '../support/retry.ts'

// Injects random faults at random times; the call must recover from each.

const rounds = Number(process.env.ROUNDS ?? 30)
const pick = <T>(items: readonly T[]) => items[Math.floor(Math.random() * items.length)] as T

t.test('a call survives faults in any order', async (t) => {
  const [server, adasBrowser, bobsBrowser] = await Promise.all([
    build(t, { env: { FEATURES: 'auth,media,seats,chat,gifts,stage', MEDIASOUP_WORKERS: '2' } }),
    openBrowser(t, 440),
    openBrowser(t, 1000)
  ])
  const ada = await visit(t, adasBrowser, server.url, { name: 'Ada', room: 'r1' })
  const bob = await visit(t, bobsBrowser, server.url, { name: 'Bob', room: 'r1' })
  const whole = () => Promise.all([expectTone(bob, 'Ada', 440), expectTone(ada, 'Bob', 1000)])
  await whole()

  const faults = {
    worker () {
      const worker = pick(server.app.sfu.workers())
      if (worker) process.kill(worker.pid, 'SIGKILL')
    },
    connection () {
      pick([...server.app.sockets.all()])?.terminate()
    },
    connections () {
      for (const session of server.app.sockets.all()) session.terminate()
    },
    async seat () {
      // Ada uses seats 0 to 3, and Bob uses seats 4 to 7.
      const [page, first] = pick([[ada, 0], [bob, 4]] as const)
      await page.evaluate((seatIndex) => window.flylive?.connection.request('seat:take', { seatIndex }).catch(() => {}), first + Math.floor(Math.random() * 4))
    },
    async hostMute () {
      await ada.evaluate(async () => {
        const { connection, participants = [] } = window.flylive ?? {}
        const userId = participants.find(({ isSelf }) => !isSelf)?.userId
        if (userId === undefined) return
        await connection?.request('seat:mute', { userId }).catch(() => {})
        // Retry, because requests fail while the client is disconnected.
        for (;;) {
          const done = await connection?.request('seat:unmute', { userId }).then(() => true, (error: { code: string }) => error.code === 'NOT_SEATED')
          if (done === true) return
          await new Promise((resolve) => setTimeout(resolve, 50))
        }
      })
    },
    async mute () {
      await pick([ada, bob]).evaluate(() => {
        window.flylive?.audio?.mute()
        window.flylive?.audio?.unmute()
      })
    }
  }
  for (let round = 1; round <= rounds; round++) {
    const done: string[] = []
    for (let n = 1 + Math.floor(Math.random() * 5); n > 0; n--) {
      const name = pick(Object.keys(faults) as (keyof typeof faults)[])
      done.push(name)
      await faults[name]()
      await delay(Math.random() * 300)
    }
    const begin = Date.now()
    await whole()
    t.pass(`round ${round}: recovered ${Date.now() - begin} ms after ${done.join(', ')}`)
    await until(() => server.app.sfu.producersOf('r1').length === 2 && server.app.sfu.describe('r1')?.transports.length === 4)
    for (const page of [ada, bob]) await page.getByRole('status').filter({ hasText: /^Connected$/ }).waitFor()
  }
})
