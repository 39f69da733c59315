import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { connectRadio } from '../../support/radio.ts'
import { startServer } from '../../support/process.ts'
import { until } from '../../support/retry.ts'

const packet = Buffer.alloc(80, 0xf8)
const claims = { channelIds: [5] }
const env = { FEATURES: 'auth,push-to-talk' }

/** CPU time of a process so far, in milliseconds. */
function cpuOf (pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) * 10
}

t.test('500 radios in a channel', { timeout: 600_000 }, async (t) => {
  const { url, child } = startServer(t, { ...env, PORT: '0' })
  const base = await url
  const talker = await connectRadio(t, base, 'talker', { claims })
  const listeners = []
  for (let i = 0; i < 10; i++) listeners.push(...await Promise.all(Array.from({ length: 50 }, (_, n) => connectRadio(t, base, i * 50 + n, { claims }))))
  let received = 0
  for (const { ws, frames } of listeners) {
    ws.removeAllListeners('message')
    frames.length = 0
    ws.on('message', () => { received++ })
  }
  talker.send(0, 1, 'talker', 5)
  await talker.next(6)
  await until(() => received === 500)
  received = 0
  const before = cpuOf(child.pid as number)
  const count = 400
  const begin = performance.now()
  // Radios send a packet every 60 ms.
  for (let n = 0; n < count; n++) {
    talker.send(0, 3, 'talker', 5, packet)
    await delay(Math.max(0, begin + (n + 1) * 60 - performance.now()))
  }
  await until(() => received === count * 500, 60_000)
  const cpu = cpuOf(child.pid as number) - before
  t.comment(`500 radios, ${received} packets delivered, ${cpu} ms of CPU: ${(cpu * 1000 / received).toFixed(2)} µs per delivered packet`)
  t.equal(received, count * 500)
})

t.test('100,000 malformed frames harm no other radio', { timeout: 600_000 }, async (t) => {
  const { url } = startServer(t, { ...env, PORT: '0', WS_MESSAGES_PER_SECOND: '100000', WS_MESSAGES_BURST: '100000', WS_BYTES_PER_SECOND: '1000000000', WS_BYTES_BURST: '1000000000' })
  const base = await url
  const [ada, bob, attacker] = [await connectRadio(t, base, 1, { claims }), await connectRadio(t, base, 2, { claims }), await connectRadio(t, base, 3, { claims })]
  ada.send(0, 1, 1, 5)
  await bob.next(1)
  const latencies: number[] = []
  const talking = setInterval(async () => {
    const at = performance.now()
    const mark = Buffer.from(String(at))
    ada.send(0, 3, 1, 5, mark)
    await bob.next(3, (frame) => mark.equals(frame[4] as Buffer)).catch(() => {})
    latencies.push(performance.now() - at)
  }, 20)
  t.teardown(() => clearInterval(talking))
  const forms = [Buffer.from([0xc1]), Buffer.alloc(0), Buffer.alloc(200, 0x91), Buffer.from('93000102', 'hex'), Buffer.from('95000305c0c0', 'hex'), Buffer.from('dd7fffffff', 'hex'), Buffer.from('9500630105c0', 'hex'), 'text']
  for (let n = 0; n < 100_000; n++) {
    const form = forms[n % forms.length] as Buffer | string
    attacker.sendRaw(typeof form === 'string' || n % 3 > 0 ? form : Buffer.concat([form, Buffer.from([n & 255])]))
    if (n % 500 === 0) await delay(5)
  }
  await attacker.flush()
  clearInterval(talking)
  const dropped = /flylive_ptt_frames_dropped_total\{reason="malformed"\} (\d+)/.exec(await (await fetch(`${base}/metrics`)).text())?.[1]
  latencies.sort((a, b) => a - b)
  t.comment(`${dropped} frames dropped; latency of ${latencies.length} packets meanwhile: median ${latencies[latencies.length >> 1]?.toFixed(1)} ms, p99 ${latencies[Math.floor(latencies.length * 0.99)]?.toFixed(1)} ms`)
  t.ok(Number(dropped) > 90_000)
  for (const radio of [ada, bob, attacker]) t.equal(radio.ws.readyState, radio.ws.OPEN)
  ada.send(0, 2, 1, 5)
  await bob.next(2)
})
