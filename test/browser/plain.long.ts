import t from 'tap'
import { build } from '../support/build.ts'
import { expectTone, openBrowser, personOn, visit } from '../support/browser.ts'

t.test('without seats everyone may speak and the page shows no seats', async (t) => {
  const [server, adasBrowser, bobsBrowser] = await Promise.all([
    build(t, { env: { FEATURES: 'auth,media,stage' } }),
    openBrowser(t, 440),
    openBrowser(t, 1000)
  ])
  const ada = await visit(t, adasBrowser, server.url, { name: 'Ada', room: 'r1' })
  const bob = await visit(t, bobsBrowser, server.url, { name: 'Bob', room: 'r1' })
  await Promise.all([expectTone(bob, 'Ada', 440), expectTone(ada, 'Bob', 1000)])
  await ada.getByRole('status').filter({ hasText: /^Connected$/ }).waitFor()
  t.same(await ada.getByRole('region', { name: 'Your controls' }).getByRole('button').evaluateAll((buttons) => buttons.map((button) => button.ariaLabel ?? button.textContent)), ['Mute', 'Stop speaking', 'Sound'])
  t.equal(await ada.getByRole('group', { name: 'Seats' }).count(), 0)

  await ada.getByRole('button', { name: 'Mute', exact: true }).click()
  await personOn(bob, 'Ada', 'muted').waitFor()
  await expectTone(bob, 'Ada', 0)
  await ada.getByRole('button', { name: 'Unmute' }).click()
  await expectTone(bob, 'Ada', 440)
})
