import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import t from 'tap'
import { adminKey, build } from '../../support/build.ts'
import { relay, rtp, tonePackets } from '../../support/mix.ts'
import { beepsOf, decodeFile } from '../../support/recordings.ts'
import { until } from '../../support/retry.ts'

// Run this test on an idle machine. Three voices beep at the same times: one over a perfect network, one with jitter,
// and one whose clock is too fast.

const server = await build(t, { env: { FEATURES: 'auth,media,recording' } })
const owner = await server.connect(1)
await owner.ok('room:join', { roomId: 'r1' })

const tone = tonePackets(1000, 0.3)
const silence = Uint8Array.of(0xf8, 0xff, 0xfe)
/** One beep of 200 ms per second. */
const isBeep = (i: number) => i % 50 >= 20 && i % 50 < 30
const seconds = 60

interface File { name: string, kind: string, userId?: string, seconds: number }

t.test('the voice files and the mix are aligned', async (t) => {
  const { recordingId } = await owner.ok('recording:start', { tracks: true })
  const path = `/admin/recordings/${String(recordingId)}`
  const networks = { perfect: undefined, jitter: relay(t, { drop: 0, jitterMs: 60, seed: 7 }), drift: undefined }
  const senders = await Promise.all(Object.entries(networks).map(async ([name, network], n) => {
    const ssrc = 900 + n
    const injection = await server.app.sfu.inject('r1', { userId: name, userKey: name, nodeId: server.app.nodeId, kind: 'service' }, { ssrc, levelExtensionId: 1 })
    return { name, ssrc, to: network ? await network(injection) : injection }
  }))
  const start = performance.now()
  const sockets = await Promise.all(senders.map(async ({ to }) => {
    const socket = createSocket('udp4')
    socket.connect(to.port, to.ip)
    await once(socket, 'connect')
    t.teardown(() => socket.close())
    return socket
  }))
  // One timer sends all voices, so all voices beep simultaneously.
  let sent = 0
  const timer = setInterval(() => {
    for (; sent * 20 < performance.now() - start; sent++) {
      senders.forEach(({ name, ssrc }, n) => {
        const packet = rtp(ssrc, sent, isBeep(sent) ? tone[sent % tone.length] as Uint8Array : silence, isBeep(sent) ? 13 : 127)
        if (name === 'drift') packet.writeUInt32BE(Math.round(sent * 960 * 1.001), 4)
        sockets[n]?.send(packet, () => {})
      })
    }
  }, 5)
  t.teardown(() => clearInterval(timer))
  const files = async () => ((await server.admin('GET', path)).body?.['files'] ?? []) as File[]
  await until(async () => ((await files()).find(({ kind }) => kind === 'mix')?.seconds ?? 0) > seconds + 1, 120_000)
  clearInterval(timer)
  await owner.ok('recording:stop')
  await until(async () => (await server.admin('GET', path)).body?.['endedAt'] !== null)
  const beeps = new Map<string, number[]>()
  for (const { name, userId } of await files()) {
    const response = await fetch(`${server.url}${path}/${name}`, { headers: { authorization: `Bearer ${adminKey}` } })
    const { samples, gaps } = await decodeFile(Buffer.from(await response.arrayBuffer()))
    t.equal(gaps, 0)
    beeps.set(userId ?? 'mix', beepsOf(samples))
  }
  const reference = beeps.get('perfect') ?? []
  t.ok(reference.length >= seconds - 2, `${reference.length} beeps`)
  for (const [name, found] of beeps) {
    const off = reference.slice(0, seconds - 2).map((at) => Math.min(...found.map((other) => Math.abs(other - at)))).sort((a, b) => a - b)
    // Some packets of the `drift` voice are dropped because the sender's clock is fast. A beep begins late if its first
    // packet is dropped. In the mix, beeps may be late because the mixer buffers more packets while the machine is
    // busy.
    const worst = off[Math.floor(off.length * (name === 'drift' ? 0.9 : name === 'mix' ? 0.8 : 1)) - 1] ?? Infinity
    t.ok(worst <= (name === 'mix' ? 40 : 20), `${name}: ${worst} ms; ${off.join()}`)
  }
})
