import t from 'tap'
import { play, publish, received, restart } from '../features/whip/client.ts'
import { measureFrequency, openBrowser } from '../support/browser.ts'
import { build, tokenFor } from '../support/build.ts'
import { until } from '../support/retry.ts'

t.test('Chromium sends its microphone\'s audio with WHIP, even after an ICE restart, and plays the mix with WHEP', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,seats,mix,whip' } })
  const context = await (await openBrowser(t, 440)).newContext({ permissions: ['microphone'] })
  const page = await context.newPage()
  await page.goto(`${server.url}/livez`)
  const { status, location, etag } = await page.evaluate(publish, { url: `${server.url}/whip/r1`, token: tokenFor(1) })
  t.equal(status, 201)
  const playing = await page.evaluate(play, { url: `${server.url}/whep/r1`, token: tokenFor(2), name: 'mix' })
  t.equal(playing.status, 201, playing.answer)
  t.match(playing.answer, /a=sendonly/)
  const hears440 = () => until(async () => Math.abs(await page.evaluate(measureFrequency, 'mix') - 440) < 5, 30_000)
  await hears440()
  const restarted = await page.evaluate(restart, { url: server.url + location, token: tokenFor(1) })
  t.equal(restarted.status, 200)
  t.not(restarted.etag, etag)
  const sent = () => page.evaluate(async () => {
    const report = await (globalThis as unknown as { whip: RTCPeerConnection }).whip.getStats()
    const stats = [...report.values() as Iterable<{ type: string, packetsSent?: number, packetsLost?: number }>]
    return { packets: stats.find(({ type }) => type === 'outbound-rtp')?.packetsSent ?? 0, lost: stats.find(({ type }) => type === 'remote-inbound-rtp')?.packetsLost ?? 0 }
  })
  const before = (await sent()).packets
  await until(async () => (await sent()).packets > before + 50)
  t.equal((await sent()).lost, 0)
  await hears440()
  const { packets, lost } = await page.evaluate(received)
  t.ok(packets > 50)
  t.equal(lost, 0)
  t.match(server.app.sfu.describe('r1')?.transports.filter(({ userId }) => userId === 1), [{ type: 'producer', iceState: /connected|completed/, dtlsState: 'connected' }])
})
