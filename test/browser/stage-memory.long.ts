import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { holdingOf, openBrowser, receptionOf, visit } from '../support/browser.ts'
import type { Holding } from '../support/browser.ts'
import { connect } from '../support/client.ts'
import { startDemo, ready } from '../support/demo.ts'

// Keeps the page of a listener open in a room of the demo. The demo's users talk, and thirty other users join, leave,
// send messages and react. MINUTES sets the duration.

const minutes = Number(process.env.MINUTES ?? 30)
const guests = 30
/** Warm-up time in minutes, during which the chat fills up and the heap stops growing. */
const warmMinutes = Math.max(1, Math.round(minutes / 6))

t.test(`${minutes} minutes in a busy room`, { timeout: (minutes + 5) * 60_000 }, async (t) => {
  const { url, room } = await ready(startDemo(t, []))
  const browser = await openBrowser(t, 440)
  const complaints: string[] = []
  const page = await visit(t, browser, url, {
    name: 'Ada',
    room,
    microphone: false,
    prepare: async (page) => { page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) complaints.push(message.text()) }) }
  })
  await page.getByRole('status').filter({ hasText: 'Connected' }).waitFor()

  const others = await Promise.all(Array.from({ length: guests }, async (_, i) => {
    const response = await fetch(`${url}/stage/session`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ name: `Guest ${i}` }) })
    const { token } = await response.json() as { token: string }
    const guest = await connect(t, url, { token })
    await guest.ok('room:join', { roomId: room })
    return guest
  }))
  const evening = new AbortController()
  let happened = 0
  const busy = (async () => {
    for (let i = 0; !evening.signal.aborted; i++) {
      const guest = others[i % guests] as (typeof others)[number]
      // Each user acts at most once every five seconds, to stay below the rate limits.
      if (i % 5 === 0) {
        await guest.ok('room:leave', {})
        await guest.ok('room:join', { roomId: room })
      } else if (i % 5 === 1) await guest.ok('room:react', { emoji: '🎉' })
      else await guest.ok('chat:message', { content: `Message number ${i}` })
      happened++
      await delay(170)
    }
  })()

  const holdings: Holding[] = []
  let heard = 0
  for (let minute = 1; minute <= minutes; minute++) {
    await delay(60_000)
    const holding = await holdingOf(page)
    if (minute > warmMinutes) holdings.push(holding)
    const talking = await page.evaluate(() => window.flylive?.participants.filter(({ isSpeaking }) => isSpeaking).map(({ profile }) => profile.name as string) ?? [])
    for (const name of talking) heard += ((await receptionOf(page, name))?.totalAudioEnergy ?? 0) > 0 ? 1 : 0
    t.comment(`minute ${minute}: heap ${(holding.heap / 1e6).toFixed(2)} MB, ${holding.nodes} nodes, ${holding.listeners} listeners; ${talking.join(', ') || 'nobody'} speaking`)
  }
  evening.abort()
  await busy
  const half = Math.floor(holdings.length / 2)
  const median = (of: keyof Holding, some: readonly Holding[]) => some.map((holding) => holding[of]).sort((a, b) => a - b)[Math.floor(some.length / 2)] as number
  for (const what of ['heap', 'nodes', 'listeners'] as const) {
    const [first, second] = [median(what, holdings.slice(0, half)), median(what, holdings.slice(half))]
    t.comment(`${what}: ${Math.round(first)} in the first half, ${Math.round(second)} in the second`)
    t.ok(second < first * 1.05, `${what} does not grow`)
  }
  t.comment(`${happened} actions by guests`)
  t.ok(heard > 0, 'audio was received')
  t.equal(await page.getByRole('status').filter({ hasText: 'Connected' }).count(), 1, 'the page is still connected')
  t.same(complaints, [], 'the page shows no errors')
})
