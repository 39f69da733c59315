import { once } from 'node:events'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { build, tokenFor } from '../../support/build.ts'
import { featureFolder } from '../../support/features.ts'
import { until } from '../../support/retry.ts'

// A feature can supply a codec ("face"), so that clients that connect to the feature's path use a different message
// format.

/** A codec whose messages have the form `id type json`, in text or binary frames. Counts the encoded events. */
const lines = `import { defineFeature, validationFailed } from 'flylive-audio-server/feature'
const counts = globalThis.flyliveCounts
const face = {
  name: 'lines',
  binary: true,
  parse (data, isBinary) {
    const text = String(data)
    if (text === '') return undefined
    if (text === 'boom') throw new Error('a secret')
    const [id, type, ...rest] = text.split(' ')
    if (!type) return { id, error: validationFailed([{ path: [], message: 'There is no type' }]) }
    return { ...(id === '-' ? {} : { id }), type, data: { ...JSON.parse(rest.join(' ') || '{}'), ...(isBinary ? { binary: true } : {}) } }
  },
  event (event) {
    counts.events[event.type] = (counts.events[event.type] ?? 0) + 1
    if (event.type === 'x:hidden') return undefined
    if (event.type === 'x:broken') throw new Error('cannot encode')
    if (event.type === 'x:bytes') return Buffer.from('bytes')
    return '! ' + event.type + ' ' + JSON.stringify(event.data)
  },
  reply: (id, outcome) => '= ' + id + ' ' + (outcome.ok ? JSON.stringify(outcome.data) : outcome.error.code)
}
export default defineFeature(async function lines (app) { app.gate.upgrade('/lines', { face }) }, { name: 'lines' })
`
const shared = globalThis as unknown as { flyliveCounts: { events: Record<string, number> } }

async function scene (t: Test) {
  shared.flyliveCounts = { events: {} }
  const folder = featureFolder(t)
  folder.write('lines', { 'index.ts': lines })
  const server = await build(t, { env: { FEATURES: 'auth,chat,lines', FEATURES_PATH: folder.path } })
  async function connectLines (userId: number) {
    const ws = new WebSocket(`${server.url.replace('http', 'ws')}/lines`, { headers: { authorization: `Bearer ${tokenFor(userId)}` } })
    t.teardown(() => ws.terminate())
    const frames: string[] = []
    let binary = 0
    ws.on('message', (data, isBinary) => {
      frames.push(String(data))
      if (isBinary) binary++
    })
    await once(ws, 'open')
    const next = async (start: string) => {
      await until(() => frames.some((frame) => frame.startsWith(start)))
      return frames.find((frame) => frame.startsWith(start)) as string
    }
    await next('! session:ready')
    return { ws, frames, next, binaryFrames: () => binary }
  }
  return { server, connectLines }
}

t.test('a face (codec) decodes requests and encodes replies and errors', async (t) => {
  const { server, connectLines } = await scene(t)
  const { ws, next, frames } = await connectLines(2)
  t.match(frames[0], /^! session:ready .*"userId":2/, 'the greeting is the first frame')
  ws.send('1 room:join {"roomId":"r1"}')
  t.match(await next('= 1'), '"roomId":"r1"')
  ws.send(Buffer.from('2 user:getRoom {"userId":2}'), { binary: true })
  t.equal(await next('= 2'), '= 2 {"roomId":"r1"}', 'in a binary frame')
  ws.send('3 chat:message {}')
  t.equal(await next('= 3'), '= 3 VALIDATION_FAILED')
  ws.send('4 seat:take {}')
  t.equal(await next('= 4'), '= 4 FEATURE_DISABLED')
  ws.send('5')
  t.equal(await next('= 5'), '= 5 VALIDATION_FAILED', 'an unreadable frame')
  ws.send('- no:type {}')
  t.match(await next('! error'), '"code":"UNKNOWN_TYPE"', 'without an id an error is an event')
  ws.send('boom')
  await until(() => frames.some((frame) => frame.includes('INTERNAL')))
  t.notMatch(frames.join(), 'a secret')
  const count = frames.length
  ws.send('')
  ws.send('6 user:getRoom {"userId":2}')
  await next('= 6')
  t.equal(frames.length, count + 1, 'an ignored frame')
  t.equal(server.app.sockets.size, 1)
})

t.test('serialises an event once and encodes it once per face; all clients receive the events in the same order', async (t) => {
  const { server, connectLines } = await scene(t)
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  const others = await Promise.all([2, 3, 4, 5].map(async (id) => {
    const client = await connectLines(id)
    client.ws.send('1 room:join {"roomId":"r1"}')
    await client.next('= 1')
    return client
  }))
  let serialised = 0
  const content = (n: number) => ({ n, toJSON: () => { serialised++; return n } })
  for (let n = 0; n < 50; n++) server.app.rooms.emit('r1', 'x:count', { value: content(n) }, { local: true })
  const seen = (frames: string[]) => frames.flatMap((frame) => /^! x:count .*"value":(\d+)/.exec(frame)?.[1] ?? []).map(Number)
  const expected = Array.from({ length: 50 }, (_, n) => n)
  for (const { frames } of others) {
    await until(() => seen(frames).length === 50)
    t.same(seen(frames), expected)
  }
  await ada.event('x:count', ({ value }) => value === 49)
  t.same(ada.events.flatMap(({ type, data }) => type === 'x:count' ? [data.value] : []), expected)
  t.equal(shared.flyliveCounts.events['x:count'], 50, 'an event is encoded once for four clients')
  t.equal(serialised, 100, 'an event is serialised once for the native encoding and once for this face')
})

t.test('a face may skip an event, send bytes or fail; other clients receive every event', async (t) => {
  const { server, connectLines } = await scene(t)
  const ada = await server.connect(1)
  const lines = await connectLines(2)
  for (const type of ['x:hidden', 'x:broken', 'x:bytes', 'x:last']) server.app.sockets.broadcast(type, {})
  await ada.event('x:last')
  await lines.next('! x:last')
  t.same(ada.events.map(({ type }) => type).slice(-4), ['x:hidden', 'x:broken', 'x:bytes', 'x:last'])
  t.same(lines.frames.slice(1), ['bytes', '! x:last {}'])
  t.equal(lines.binaryFrames(), 1)
})
