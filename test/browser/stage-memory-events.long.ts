import { randomUUID } from 'node:crypto'
import t from 'tap'
import type { Page } from 'playwright-core'
import { build } from '../support/build.ts'
import { holdingOf, openBrowser, personOn, visit } from '../support/browser.ts'
import type { Holding } from '../support/browser.ts'
import { until } from '../support/retry.ts'

// A page that stays open for hours must not retain more memory over time.
// stage-memory.long.ts runs longer and with audio.

/**
 * Measures the memory use of an idle page several times.
 *
 * @returns the lowest values
 */
async function leastOf (page: Page): Promise<Holding> {
  const looks: Holding[] = []
  for (let i = 0; i < 2; i++) looks.push(await holdingOf(page))
  const least = (what: keyof Holding) => Math.min(...looks.map((look) => look[what]))
  return { heap: least('heap'), nodes: least('nodes'), listeners: least('listeners') }
}

t.test('releases the memory of everything it has shown', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,seats,chat,gifts,reactions,stage' } })
  const browser = await openBrowser(t, 440)
  const room = 'r1'
  const page = await visit(t, browser, server.url, { name: 'Ada', room, microphone: false })
  await personOn(page, 'Ada').waitFor()
  const ben = await server.connect(2)
  const cleo = await server.connect(3)
  await ben.ok('room:join', { roomId: room })
  let count = 0
  const emit = (type: string, data: object) => server.app.rooms.emit(room, type, { roomId: room, ...data })

  /** Sends the events of a busy hour without pauses. After two calls, the chat log is full. */
  async function hour (): Promise<void> {
    for (let i = 0; i < 110; i++) {
      const id = `m${++count}`
      emit('chat:message', { id, userId: 2, userName: 'User 2', content: `line ${count}`, messageType: 'text', timestamp: Date.now() })
      if (i % 10 === 0) emit('gift:received', { transactionId: randomUUID(), senderId: 2, giftId: 1 + i / 10 % 5, recipientId: 3, quantity: 1, timestamp: Date.now() })
      if (i % 2 === 0) emit('room:reaction', { userId: 2, emoji: '👏' })
      emit('speaker:active', { userId: 2, activeSpeakers: i % 2 === 0 ? [2] : [], levels: i % 2 === 0 ? [0.5] : [], timestamp: Date.now() })
    }
    for (let i = 0; i < 5; i++) {
      await cleo.ok('room:join', { roomId: room })
      await cleo.ok('seat:take', { seatIndex: 3 })
      await cleo.ok('room:leave', {})
    }
    await page.getByRole('log').getByText(`line ${count}`, { exact: true }).waitFor()
    await until(async () => await page.locator('.reaction, .gift').count() === 0)
    await personOn(page, 'User 3').waitFor({ state: 'detached' })
  }

  for (let i = 0; i < 2; i++) await hour()
  const before = await leastOf(page)
  await hour()
  const after = await leastOf(page)
  t.comment(`after 2 and after 3 hours: ${JSON.stringify(before)}, ${JSON.stringify(after)}`)
  t.ok(after.heap < before.heap * 1.1, `the heap does not grow: ${before.heap}, ${after.heap}`)
  t.ok(after.nodes < before.nodes * 1.05, 'the number of nodes does not grow')
  t.ok(after.listeners < before.listeners * 1.05)
})
