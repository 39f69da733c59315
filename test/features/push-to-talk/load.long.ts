import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { connectRadio, radioToken } from '../../support/radio.ts'
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

t.test('500 radios in a channel receive every packet', { timeout: 600_000 }, async (t) => {
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

/** Sends malformed frames from a separate thread, so that sending does not add to the measured latency. */
const attack = `
const { workerData, parentPort } = require('node:worker_threads')
const WebSocket = require('ws')
const forms = workerData.forms.map((form) => typeof form === 'string' ? form : Buffer.from(form))
const ws = new WebSocket(workerData.url, { headers: { token: workerData.token } })
ws.on('open', async () => {
  for (let n = 0; n < workerData.count; n++) {
    const form = forms[n % forms.length]
    ws.send(typeof form === 'string' || n % 3 > 0 ? form : Buffer.concat([form, Buffer.from([n & 255])]))
    if (n % 500 === 0) while (ws.bufferedAmount > 1e6) await new Promise((resolve) => setTimeout(resolve, 1))
  }
  ws.ping()
})
ws.on('pong', () => parentPort.postMessage(ws.readyState))
ws.on('close', (code) => parentPort.postMessage(code))
setInterval(() => {}, 1000)`

t.test('100,000 malformed frames do not affect other radios', { timeout: 600_000 }, async (t) => {
  const { url } = startServer(t, { ...env, PORT: '0', WS_MESSAGES_PER_SECOND: '100000', WS_MESSAGES_BURST: '100000', WS_BYTES_PER_SECOND: '1000000000', WS_BYTES_BURST: '1000000000' })
  const base = await url
  const [ada, bob] = [await connectRadio(t, base, 1, { claims }), await connectRadio(t, base, 2, { claims })]
  ada.send(0, 1, 1, 5)
  await bob.next(1)
  const sentAt = new Map<number, number>()
  let latencies: number[] = []
  let count = 0
  bob.ws.on('message', (data: Buffer) => {
    const at = data[1] === 0 && data[2] === 3 ? sentAt.get(data.readUInt32BE(data.length - 4)) : undefined
    if (at !== undefined) latencies.push(performance.now() - at)
  })
  const talking = setInterval(() => {
    const mark = Buffer.alloc(80)
    mark.writeUInt32BE(++count, 76)
    sentAt.set(count, performance.now())
    ada.send(0, 3, 1, 5, mark)
  }, 20)
  t.teardown(() => clearInterval(talking))
  /** @returns latency statistics of Ada's audio packets while `work` runs, in milliseconds */
  const during = async (work: Promise<unknown>) => {
    latencies = []
    await work
    const sorted = latencies.sort((a, b) => a - b)
    const at = (part: number) => Number(sorted[Math.floor(sorted.length * part)]?.toFixed(1))
    return { packets: sorted.length, p50: at(0.5), p99: at(0.99), max: at(1 - 1 / sorted.length) }
  }
  const forms = [Buffer.from([0xc1]), Buffer.alloc(0), Buffer.alloc(200, 0x91), Buffer.from('93000102', 'hex'), Buffer.from('95000305c0c0', 'hex'), Buffer.from('dd7fffffff', 'hex'), Buffer.from('9500630105c0', 'hex'), 'text']
  const begin = performance.now()
  const alone = await during(delay(10_000))
  const attacker = new Worker(attack, { eval: true, workerData: { url: `${base.replace('http', 'ws')}/ptt`, token: radioToken(3, claims), forms, count: 100_000 } })
  t.teardown(() => attacker.terminate())
  const attackedAt = performance.now()
  const attacked = await during(once(attacker, 'message').then(([state]) => t.equal(state, 1, 'the attacker is connected')))
  const seconds = (performance.now() - attackedAt) / 1000
  const after = await during(delay(10_000))
  clearInterval(talking)
  const dropped = /flylive_ptt_frames_dropped_total\{reason="malformed"\} (\d+)/.exec(await (await fetch(`${base}/metrics`)).text())?.[1]
  t.comment(`${dropped} frames dropped within ${seconds.toFixed(1)} s; latency of a talk in ms: before ${JSON.stringify(alone)}, during ${JSON.stringify(attacked)}, after ${JSON.stringify(after)}; ${((performance.now() - begin) / 1000).toFixed(0)} s`)
  t.ok(Number(dropped) > 90_000)
  for (const radio of [ada, bob]) t.equal(radio.ws.readyState, radio.ws.OPEN)
  await until(() => bob.frames.filter(([, type]) => type === 3).length === count)
  ada.send(0, 2, 1, 5)
  await bob.next(2)
})
