import t from 'tap'
import { build } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { featureFolder } from '../../support/features.ts'
import { until } from '../../support/retry.ts'

// A feature that sends an event.
const emitter = `import { createEvent, defineFeature, roomId, z } from 'flylive-audio-server/feature'
const data = z.object({ roomId: z.string().optional(), n: z.unknown() })
export const requests = { 'emit:now': { request: data.extend({ way: z.string() }), reply: z.object({ state: z.unknown() }) } }
export default defineFeature(async function emit (app) {
  app.messages.events({ 'emit:event': z.object({ n: z.int() }) })
  const tally = app.rooms.roomState.define('emit-tally', z.object({ n: z.unknown() }))
  app.messages.on('emit:now', requests['emit:now'], async ({ way, n }, { room, session }) => {
    const event = createEvent('emit:event', { n })
    const log = { entry: 'x', keep: 1 }
    const ways = {
      emit: () => app.rooms.emit(room.roomId, 'emit:event', { n }),
      emitLocal: () => app.rooms.emit(room.roomId, 'emit:event', { n }, { local: true }),
      emitLogged: () => app.rooms.emitLogged(room.roomId, 'emit:event', { n }, log),
      sendHere: () => app.rooms.sendHere(room.roomId, event),
      sendTo: () => app.rooms.sendTo(room, session, event),
      send: () => session.send('emit:event', { n }),
      toUser: () => app.sockets.toUser(session.user.id, 'emit:event', { n }),
      broadcast: () => app.sockets.broadcast('emit:event', { n }),
      state: () => tally.change(room.roomId, () => ({ state: { n }, events: [{ type: 'emit:event', data: { n } }], result: undefined }))
    }
    await ways[way]()
    return { state: tally.peek(room.roomId)?.n ?? null }
  })
}, { name: 'emit', dependencies: ['rooms'] })
`
const ways = ['emit', 'emitLocal', 'emitLogged', 'sendHere', 'sendTo', 'send', 'toUser', 'broadcast', 'state']

const invalidEvents = async ({ app }: TestServer) => (await app.metrics.registry.getSingleMetric('flylive_events_invalid_total')?.get())?.values ?? []

t.test('sending an event that does not match its schema throws in the feature', async (t) => {
  const folder = featureFolder(t)
  folder.write('emit', { 'index.ts': emitter })
  const lines: Record<string, unknown>[] = []
  const server = await build(t, { env: { FEATURES: 'auth,emit', FEATURES_PATH: folder.path }, log: (line) => lines.push(line) })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  for (const [index, way] of ways.entries()) {
    t.equal((await ada.request('emit:now', { way, n: 'text' })).error?.code, 'INTERNAL', `${way} rejects an invalid event`)
    t.match(lines.at(-1), { err: { message: /^The event emit:event does not match its schema: n: / }, roomId: 'r1', sessionId: String })
    await ada.ok('emit:now', { way, n: index })
    t.match(await ada.event('emit:event', ({ n }) => n === index), { n: index }, `${way} sends a valid one`)
  }
  t.notOk(ada.events.some(({ type, data }) => type === 'emit:event' && data.n === 'text'), 'no invalid event was sent')
  t.match(await ada.ok('emit:now', { way: 'emit', n: 1 }), { state: ways.indexOf('state') }, 'a rejected change of state has no effect')
})

t.test('in production, an event that does not match its schema is sent and counted', async (t) => {
  const folder = featureFolder(t)
  folder.write('emit', { 'index.ts': emitter })
  const lines: Record<string, unknown>[] = []
  const server = await build(t, {
    env: { NODE_ENV: 'production', HOST: '127.0.0.1', MEDIASOUP_ANNOUNCED_IP: '127.0.0.1', MEDIASOUP_WORKERS: '1', DRAIN_SECONDS: '0', FEATURES: 'auth,emit', FEATURES_PATH: folder.path },
    log: (line) => lines.push(line)
  })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  for (const way of ['emit', 'toUser', 'send']) await ada.ok('emit:now', { way, n: way })
  for (const way of ['emit', 'toUser', 'send']) t.match(await ada.event('emit:event', ({ n }) => n === way), { n: way })
  t.match(await until(async () => (await invalidEvents(server)).find(({ value }) => value === 3) ?? false), { labels: { event: 'emit:event' } })
  const logged = lines.filter(({ event }) => event === 'emit:event')
  t.match(logged, [{ level: 50, roomId: 'r1', err: { message: /n: / } }])
  t.equal(logged.length, 1, 'logged once per type')
})
