import wrtc from '@roamhq/wrtc'
import t from 'tap'
import { RoomClient } from '../../client/index.ts'
import { publish, restart } from '../features/whip/client.ts'
import { openBrowser } from '../support/browser.ts'
import { build, tokenFor } from '../support/build.ts'
import { frequencyOf } from '../support/frequency.ts'
import { until } from '../support/retry.ts'
import '../support/wrtc.ts'

t.test('Chromium sends its microphone\'s audio with WHIP, also after an ICE restart', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,seats,whip' } })
  const listener = new RoomClient({ url: server.url, token: () => tokenFor(9), audio: { handlerName: 'Chrome111' } })
  t.teardown(() => listener.close())
  await listener.join('r1')
  const context = await (await openBrowser(t, 440)).newContext({ permissions: ['microphone'] })
  const page = await context.newPage()
  await page.goto(`${server.url}/livez`)
  const { status, location, etag } = await page.evaluate(publish, { url: `${server.url}/whip/r1`, token: tokenFor(1) })
  t.equal(status, 201)
  const [heard] = await until(() => listener.audio?.heard.length === 1 && listener.audio.heard)
  const frequency = frequencyOf(t, wrtc.nonstandard.RTCAudioSink, heard?.track as MediaStreamTrack)
  await until(() => Math.abs(frequency() - 440) < 5)
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
  await until(() => Math.abs(frequency() - 440) < 5)
  t.match(server.app.sfu.describe('r1')?.transports.filter(({ userId }) => userId === 1), [{ type: 'producer', iceState: /connected|completed/, dtlsState: 'connected' }])
})
