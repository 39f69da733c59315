import fc from 'fast-check'
import t from 'tap'
import { fitting, garbage, nearly } from '../support/arbitrary.ts'
import { build } from '../support/build.ts'

// Sends a server a million frames of all message types, with random data of at most 64 KiB.

const total = 1_000_000
const maxFrameBytes = 65_536
/**
 * Maximum number and total size, in bytes, of the frames in flight. A session may have 200 requests of 262,144 bytes
 * waiting for a join.
 */
const inFlight = { frames: 200, bytes: 196_608 }
/** The client joins a room again after this many frames. */
const joinEvery = 10_000
/** Number of generated payloads per message type. The frames are built from these payloads. */
const variants = 300

/**
 * A small pseudo-random number generator (mulberry32). The same seed always produces the same numbers, so that a
 * failure can be repeated.
 */
function createRandom (seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

t.test('a million frames cause no internal error and kill no media worker', async (t) => {
  const seed = Number(process.env.SEED ?? 20_261_128)
  const random = createRandom(seed)
  const lines: Record<string, unknown>[] = []
  const server = await build(t, {
    log: (line) => { if (Number(line.level) >= 50) lines.push(line) },
    env: { WS_MESSAGES_PER_SECOND: '100000', WS_MESSAGES_BURST: '100000', WS_BYTES_PER_SECOND: '1073741824', WS_BYTES_BURST: '1073741824', WS_MAX_QUEUE_BYTES: '268435456' }
  })
  const routes = server.app.messages.contract().flatMap(({ routes }) => routes)
  const pools = routes.map(({ type, request }) => {
    const valid = fitting(request)
    const texts = fc.sample(fc.oneof({ weight: 2, arbitrary: valid }, { weight: 4, arbitrary: nearly(valid) }, { weight: 1, arbitrary: garbage }), { numRuns: variants, seed })
    return { type, texts: texts.map((data) => JSON.stringify(data)) }
  })
  const keys = (count: number) => `{${Array.from({ length: count }, (_, i) => `"k${i}":${i}`).join()}}`
  const huge = [keys(500), keys(1900), keys(5000), `[${'0,'.repeat(30_000)}0]`, `{"a":"${'x'.repeat(60_000)}"}`, '['.repeat(5000), '{"a":'.repeat(2000)]

  /**
   * Returns a frame of a random type. The frame contains a generated payload, a mix of two payloads, or a huge payload.
   */
  function frameOf (id: number): string {
    const { type, texts } = pools[random(pools.length)] as typeof pools[number]
    const text = texts[random(texts.length)] as string
    const kind = random(100)
    const data = kind === 0
      ? huge[random(huge.length)] as string
      : kind < 20 ? text.slice(0, random(text.length + 1)) + (texts[random(texts.length)] as string).slice(random(text.length + 1)) : text
    const frame = `{"id":${id},"type":"${type}","data":${data}}`
    return Buffer.byteLength(frame) > maxFrameBytes ? `{"id":${id},"type":"${type}","data":{}}` : frame
  }

  const guard = await server.connect('guard')
  await guard.ok('room:join', { roomId: 'r9' })
  const { id: transportId } = await guard.ok('transport:create', { type: 'consumer' })
  const [worker] = server.app.sfu.workers()
  const codes = new Map<string, number>()
  let client = await server.connect('fuzzer')
  let answered = 0
  const listen = () => client.ws.on('message', (raw) => {
    const { ok, error, type, data } = JSON.parse(String(raw)) as { ok?: boolean, error?: { code: string }, type?: string, data?: { code: string } }
    if (ok === undefined && type !== 'error') return
    const code = ok === true ? 'ok' : (error ?? data)?.code ?? ''
    codes.set(code, (codes.get(code) ?? 0) + 1)
    answered++
  })
  listen()
  const begin = performance.now()
  for (let sent = 0; sent < total;) {
    if (sent % joinEvery === 0) {
      client.events.length = 0
      await client.request('room:join', { roomId: `r${random(3)}` })
    }
    const first = sent
    for (let bytes = 0; sent < first + inFlight.frames && bytes <= inFlight.bytes;) {
      const frame = frameOf(++sent)
      bytes += Buffer.byteLength(frame)
      client.send(frame)
      if (sent % joinEvery === 0) break
    }
    const end = answered + sent - first
    const isWaiting = () => answered < end && client.ws.readyState === client.ws.OPEN
    while (isWaiting()) await new Promise((resolve) => setImmediate(resolve))
    if (client.ws.readyState === client.ws.OPEN) continue
    t.fail(`the connection was closed after ${sent} frames: ${JSON.stringify(await client.closed)}`)
    client = await server.connect('fuzzer')
    listen()
  }
  t.comment(`seed ${seed}: ${total} frames in ${Math.round((performance.now() - begin) / 1000)} s; replies ${JSON.stringify(Object.fromEntries([...codes].sort(([, a], [, b]) => b - a)))}`)
  t.equal(codes.get('INTERNAL'), undefined)
  t.same(lines, [], 'nothing is logged as an error')
  t.same(server.app.sfu.workers()[0]?.pid, worker?.pid, 'the media worker is the same')
  await guard.ok('transport:restartIce', { transportId })
})
