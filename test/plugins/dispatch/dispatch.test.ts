import t from 'tap'
import type { Test } from 'tap'
import type { Session } from '../../../plugins/connections/session.ts'
import { build } from '../../support/build.ts'
import { featureFolder } from '../../support/features.ts'
import { until } from '../../support/retry.ts'

// Tests messages.dispatch, for requests that do not arrive over the session's connection.

/** A REST facade. `POST /facade/SESSION {type, data}` dispatches a request for the session. */
const facade = `import { defineFeature, NotFound, z } from 'flylive-audio-server/feature'
export default defineFeature(async function facade (app) {
  const body = z.object({ type: z.string(), data: z.any() })
  app.post('/facade/:id', { schema: { params: z.object({ id: z.string() }), body } }, async ({ params, body }) => {
    const session = app.sockets.get(params.id)
    if (!session) throw new NotFound(params.id)
    const reply = await app.messages.dispatch(session, body.type, body.data)
    globalThis.flyliveTrace.push('replied')
    return { reply }
  })
}, { name: 'facade' })
`
/** A feature whose `x:…` handlers return or throw in every possible way. */
const target = (answer: string) => `import { createError, defineFeature, z } from 'flylive-audio-server/feature'
const XRefused = createError('X_REFUSED', 'Refused', 409)
const any = { request: z.object({}), reply: z.object({ text: z.string() }) }
export const requests = { 'x:say': any, 'x:room': any, 'x:limited': any, 'x:refuse': any, 'x:fail': any, 'x:bad': any, 'x:after': any, 'x:slow': any, 'x:trace': any,
  'x:checked': { request: z.object({ n: z.int() }), reply: z.object({ n: z.int() }) } }
export default defineFeature(async function target (app) {
  const text = ${JSON.stringify(answer)}
  const on = (type, options, handler) => app.messages.on(type, { ...requests[type], room: false, ...options }, handler)
  on('x:say', {}, () => ({ text }))
  on('x:room', { room: true }, (_data, { room }) => ({ text: room.roomId }))
  on('x:limited', { limit: { perMinute: 2 } }, () => ({ text }))
  on('x:refuse', {}, () => { throw new XRefused() })
  on('x:fail', {}, () => { throw new Error('a secret') })
  on('x:bad', {}, () => ({ text: 5 }))
  on('x:after', {}, (_data, { afterReply }) => { afterReply(() => globalThis.flyliveTrace.push('after')); return { text } })
  on('x:slow', { exclusive: true }, async () => { globalThis.flyliveTrace.push('begin'); await globalThis.flyliveSlow.promise; globalThis.flyliveTrace.push('slow'); return { text } })
  on('x:trace', {}, () => { globalThis.flyliveTrace.push(text); return { text } })
  on('x:checked', {}, ({ n }) => ({ n }))
}, { name: 'target' })
`
const shared = globalThis as unknown as { flyliveTrace: string[], flyliveSlow: PromiseWithResolvers<void> }

async function scene (t: Test) {
  shared.flyliveTrace = []
  shared.flyliveSlow = Promise.withResolvers()
  t.teardown(() => shared.flyliveSlow.resolve())
  const folder = featureFolder(t)
  folder.write('facade', { 'index.ts': facade })
  folder.write('target', { 'index.ts': target('first') })
  const server = await build(t, { env: { FEATURES: 'auth,facade,target', FEATURES_PATH: folder.path } })
  const ada = await server.connect(1)
  const id = String(ada.greeting.sessionId)
  async function post (type: string, data: unknown = {}): Promise<{ status: number, body: Record<string, unknown> }> {
    const response = await fetch(`${server.url}/facade/${id}`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ type, data }) })
    return { status: response.status, body: await response.json() as Record<string, unknown> }
  }
  const count = async (event: string, status: string) => {
    const line = (await (await fetch(`${server.url}/metrics`)).text()).split('\n').find((line) => line.startsWith(`flylive_socket_events_total{event="${event}",status="${status}"}`))
    return line === undefined ? 0 : Number(line.split(' ')[1])
  }
  return { server, folder, ada, id, post, count }
}

t.test('returns the same replies and errors as a connection', async (t) => {
  const { server, ada, post } = await scene(t)
  t.same(await post('x:say'), { status: 200, body: { reply: { text: 'first' } } })
  t.same(await post('x:checked', { n: 3 }), { status: 200, body: { reply: { n: 3 } } })
  const refusals: [type: string, data: unknown, status: number, code: string][] = [
    ['x:unknown', {}, 404, 'UNKNOWN_TYPE'],
    ['seat:take', {}, 409, 'FEATURE_DISABLED'],
    ['x:checked', { n: 'three' }, 400, 'VALIDATION_FAILED'],
    ['x:checked', 'not an object', 400, 'VALIDATION_FAILED'],
    ['x:room', {}, 403, 'NOT_IN_ROOM'],
    ['x:refuse', {}, 409, 'X_REFUSED'],
    ['x:fail', {}, 500, 'INTERNAL'],
    ['x:bad', {}, 500, 'INTERNAL']
  ]
  for (const [type, data, status, code] of refusals) {
    const answer = await post(type, data)
    t.match(answer, { status, body: { error: { code } } }, `${type} ${code}`)
    if (typeof data === 'object') t.same(answer.body.error, (await ada.request(type, data)).error, 'the connection receives the same error')
  }
  t.notMatch(JSON.stringify((await post('x:fail')).body), 'a secret')

  await ada.ok('room:join', { roomId: 'r1' })
  t.same((await post('x:room')).body, { reply: { text: 'r1' } })
  t.match((await post('x:room', { roomId: 'r2' })).body, { error: { code: 'NOT_IN_ROOM' } })
  t.same(server.app.features.enabled(), ['auth', 'facade', 'target'])
})

t.test('shares rate limits with the connection', async (t) => {
  const { ada, post } = await scene(t)
  await ada.ok('x:limited')
  t.equal((await post('x:limited')).status, 200)
  t.match((await post('x:limited')).body, { error: { code: 'RATE_LIMITED', details: { retryAfterMs: Number } } })
  t.equal(await ada.fails('x:limited'), 'RATE_LIMITED')
})

t.test('counts requests by type and outcome', async (t) => {
  const { post, count } = await scene(t)
  for (const type of ['x:say', 'x:say', 'x:refuse', 'x:nobody']) await post(type)
  t.equal(await count('x:say', 'ok'), 2)
  t.equal(await count('x:refuse', 'X_REFUSED'), 1)
  t.equal(await count('unknown', 'UNKNOWN_TYPE'), 1)
})

t.test('afterReply runs after the code that awaits the reply', async (t) => {
  const { post } = await scene(t)
  await post('x:after')
  t.same(shared.flyliveTrace, ['replied', 'after'])
})

t.test('starts the requests of one session in order, whether dispatched or received', async (t) => {
  const { server, ada, post } = await scene(t)
  const slow = ada.ok('x:slow')
  await until(() => shared.flyliveTrace.includes('begin'))
  const dispatched = post('x:trace')
  const other = await server.connect(2)
  await other.ok('x:trace')
  t.same(shared.flyliveTrace, ['begin', 'first'], 'other sessions do not wait')
  shared.flyliveSlow.resolve()
  await Promise.all([slow, dispatched])
  t.same(shared.flyliveTrace, ['begin', 'first', 'slow', 'first', 'replied'])
})

t.test('requests over the connection wait for a dispatched exclusive request, and then run in the reloaded code', async (t) => {
  const { server, folder, ada, post } = await scene(t)
  const slow = post('x:slow')
  await until(() => shared.flyliveTrace.includes('begin'))
  const behind = ada.ok('x:trace')
  folder.write('target', { 'index.ts': target('second') })
  const reload = server.admin('POST', '/admin/features/target/reload')
  const other = await server.connect(2)
  await until(async () => (await other.ok('x:say')).text === 'second')
  t.same(shared.flyliveTrace, ['begin'])
  shared.flyliveSlow.resolve()
  t.match((await slow).body, { reply: { text: 'first' } }, 'requests in the old code finish there')
  t.same(await behind, { text: 'second' })
  t.match(await reload, { status: 200, body: { generation: 2 } })
})

t.test('rejects requests of a closed session', async (t) => {
  const { server, ada, id } = await scene(t)
  const session = server.app.sockets.get(id)
  session?.close('KICKED')
  await ada.closed
  await t.rejects(server.app.messages.dispatch(session as Session, 'x:say'), { code: 'UNAUTHORIZED' })
})

t.test('session:ping is answered while an exclusive request is pending', async (t) => {
  const { ada } = await scene(t)
  const slow = ada.request('x:slow')
  const trace = ada.request('x:trace')
  t.match(await ada.ok('session:ping'), { serverTime: Number })
  t.same(shared.flyliveTrace, ['begin'], 'other requests wait')
  shared.flyliveSlow.resolve()
  await Promise.all([slow, trace])
  t.same(shared.flyliveTrace, ['begin', 'slow', 'first'])
})
