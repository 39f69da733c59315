import t from 'tap'
import { play, publish, received } from '../features/whip/client.ts'
import { openBrowser } from '../support/browser.ts'
import { build, tokenFor } from '../support/build.ts'
import { until } from '../support/retry.ts'

t.test('Chromium plays the mix with WHEP', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,seats,mix,whip' } })
  const context = await (await openBrowser(t, 440)).newContext({ permissions: ['microphone'] })
  const [speaker, player] = [await context.newPage(), await context.newPage()]
  for (const page of [speaker, player]) await page.goto(`${server.url}/livez`)
  t.equal((await speaker.evaluate(publish, { url: `${server.url}/whip/r1`, token: tokenFor(1) })).status, 201)
  const { status, answer } = await player.evaluate(play, { url: `${server.url}/whep/r1`, token: tokenFor(2), name: 'mix' })
  t.equal(status, 201, answer)
  t.match(answer, /a=sendonly/)
  await until(async () => (await player.evaluate(received)).packets > 100)
  const { lost, energy } = await player.evaluate(received)
  t.equal(lost, 0)
  t.ok(energy > 0, 'the mix contains the tone')
})
