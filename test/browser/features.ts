import type { Page } from 'playwright-core'
import type { Test } from 'tap'
import type { TestServer } from '../support/build.ts'
import { receptionOf } from '../support/browser.ts'
import type { Call } from '../support/call.ts'

/** Enables or disables a feature. */
export async function turn (server: TestServer, feature: string, way: 'enable' | 'disable'): Promise<void> {
  const { status, body } = await server.admin('POST', `/admin/features/${feature}/${way}`)
  if (status !== 200) throw new Error(`${feature} ${way}: ${JSON.stringify(body)}`)
}

/** Records a page's requests, audio state changes and audio errors. */
export async function listen (page: Page): Promise<void> {
  await page.evaluate(() => {
    const { audio, connection } = window.flylive as NonNullable<typeof window.flylive>
    const heard: string[] = []
    Object.assign(window, { heard })
    audio?.on('state', (state, why) => heard.push(why ? `${state}: ${why.message}` : state))
    audio?.on('refused', (error) => heard.push(`refused: ${error.message}`))
    connection.on('error', ({ code }) => heard.push(`error: ${code}`))
    connection.request = new Proxy(connection.request, {
      apply (request, _this, args: Parameters<typeof connection.request>) {
        heard.push(`> ${args[0]}`)
        return Reflect.apply(request, connection, args)
      }
    })
  })
}

/** @returns what {@link listen} has recorded on the page since the previous call of this function */
export const noted = (page: Page) => page.evaluate(() => (window as unknown as { heard: string[] }).heard.splice(0))
export const statesIn = (notes: string[]) => notes.filter((note) => !note.startsWith('>'))

/**
 * Disables and re-enables media during a call in room r1. Call {@link listen} for both pages first.
 *
 * @param meanwhile called while media is disabled
 */
export async function interruptMedia (t: Test, call: Call, meanwhile?: () => Promise<void>): Promise<void> {
  const { server, ada, bob } = call
  const pages = [ada, bob]
  const streams = async () => [(await receptionOf(bob, 'Ada'))?.producerId, (await receptionOf(ada, 'Bob'))?.producerId]
  await Promise.all(pages.map(noted))
  const before = await streams()
  await turn(server, 'media', 'disable')
  for (const page of pages) await page.getByRole('status').filter({ hasText: 'Connected, no audio' }).waitFor()
  t.equal(server.app.sfu.producersOf('r1').length, 0)
  for (const page of pages) {
    t.same(await page.evaluate(() => {
      const { audio, participants } = window.flylive as NonNullable<typeof window.flylive>
      return { state: audio?.state, publishing: audio?.publishing, heard: audio?.heard.length, producers: audio?.producers.length, silent: participants.every(({ microphone }) => microphone === 'none') }
    }), { state: 'off', publishing: true, heard: 0, producers: 0, silent: true })
  }
  await meanwhile?.()
  for (const page of pages) t.same(await noted(page), ['off'], 'the audio stops without errors or requests')

  await turn(server, 'media', 'enable')
  await call.hearEachOther()
  for (const page of pages) {
    await page.getByRole('status').filter({ hasText: /^Connected$/ }).waitFor()
    const notes = await noted(page)
    t.same(statesIn(notes), ['connecting', 'on'], 'the audio recovers without errors')
    t.equal(notes.filter((note) => note === '> room:join').length, 1)
    t.equal(notes.filter((note) => note === '> audio:produce').length, 1)
  }
  await call.keepsFlowing(t, 'with media again')
  for (const [i, producerId] of (await streams()).entries()) t.not(producerId, before[i], 'the stream is new')
  t.equal(server.app.sfu.producersOf('r1').length, 2)
}
