import t from 'tap'
import { build } from '../../support/build.ts'
import { featureFolder } from '../../support/features.ts'
import { until } from '../../support/retry.ts'

// When a feature instance is replaced, work in flight completes on the old instance or is rejected.

/** A feature with a message, a route, a hook and a job, all of which block until the test opens a gate. */
const waiting = (answer: string) => `import fp from 'fastify-plugin'
import { z } from 'zod'
export const requests = { 'w:wait': { request: z.object({}), reply: z.object({ text: z.string() }) }, 'w:quick': { request: z.object({}), reply: z.object({ text: z.string() }) } }
const text = ${JSON.stringify(answer)}
export default fp(async function waits (app) {
  const gate = globalThis.flyliveGates[text] = Object.assign(Promise.withResolvers(), { inside: new Set(), closed: false })
  const wait = async (what) => { gate.inside.add(what); await gate.promise; if (gate.closed) throw new Error('closed under a call'); return { text } }
  app.messages.on('w:wait', { ...requests['w:wait'], room: false }, () => wait('message'))
  app.messages.on('w:quick', { ...requests['w:quick'], room: false }, () => ({ text }))
  app.get('/waits', () => wait('route'))
  app.hooks.on('room:join', async () => ({ waited: (await wait('hook')).text }))
  app.jobs.on('waits', () => wait('job'))
  app.addHook('onClose', async () => { gate.closed = true })
}, { name: 'waits' })
`
interface Gate { resolve (): void, inside: Set<string>, closed: boolean }
const gates: Record<string, Gate> = (globalThis as unknown as { flyliveGates: Record<string, Gate> }).flyliveGates = {}
const gate = (name: string) => gates[name] as Gate

t.test('in-flight requests finish in the old instance; new requests run in the new instance', async (t) => {
  const folder = featureFolder(t)
  folder.write('waits', { 'index.ts': waiting('old') })
  const server = await build(t, { env: { FEATURES_PATH: folder.path, FEATURES: 'auth,waits' } })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  const message = ada.ok('w:wait', {})
  const route = fetch(`${server.url}/waits`).then((response) => response.json())
  const hook = bob.ok('room:join', { roomId: 'r1' })
  await server.app.jobs.schedule('waits', 'k', 0)
  await until(() => gate('old').inside.size === 4)

  folder.write('waits', { 'index.ts': waiting('new') })
  let reloaded = false
  const reload = server.admin('POST', '/admin/features/waits/reload').finally(() => { reloaded = true })
  await until(async () => (await ada.ok('w:quick', {})).text === 'new')
  gate('new').resolve()
  t.same(await (await fetch(`${server.url}/waits`)).json(), { text: 'new' })
  t.equal(gate('old').closed, false, 'the old instance is kept for running requests')
  t.equal(reloaded, false)

  gate('old').resolve()
  t.same(await message, { text: 'old' })
  t.same(await route, { text: 'old' })
  t.match(await hook, { waited: 'old' })
  t.match(await reload, { status: 200, body: { generation: 2 } })
  t.equal(gate('old').closed, true)
})

t.test('requests that exceed the deadline fail with UNAVAILABLE and do not block the reload', async (t) => {
  const folder = featureFolder(t)
  folder.write('waits', { 'index.ts': waiting('endless') })
  const server = await build(t, { env: { FEATURES_PATH: folder.path, FEATURES: 'auth,waits', FEATURES_DRAIN_SECONDS: '1' } })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  const message = ada.fails('w:wait', {})
  const route = fetch(`${server.url}/waits`)
  const hook = bob.ok('room:join', { roomId: 'r1' })
  await until(() => gate('endless').inside.size === 3)
  t.match(await server.admin('POST', '/admin/features/waits/disable'), { status: 200, body: { state: 'disabled' } })
  t.equal(await message, 'UNAVAILABLE')
  const response = await route
  t.equal(response.status, 503)
  t.match(await response.json(), { error: { code: 'UNAVAILABLE', details: { retryable: true } } })
  t.notOk('waited' in await hook, 'the join succeeds without the fields of the hook')
  t.equal(await ada.fails('w:wait', {}), 'FEATURE_DISABLED')
  t.equal((await fetch(`${server.url}/waits`)).status, 404)
  // The client has already received an error as the reply, so the old code's late result is ignored.
  gate('endless').resolve()
  t.match(await bob.ok('room:join', { roomId: 'r1' }), { roomId: 'r1' })
  t.equal(ada.events.filter(({ type }) => type === 'error').length, 0)
})

t.test('a queued message runs in the current feature instance', async (t) => {
  const folder = featureFolder(t)
  folder.write('waits', { 'index.ts': waiting('first') })
  const server = await build(t, { env: { FEATURES_PATH: folder.path, FEATURES: 'auth,waits' } })
  const ada = await server.connect(1)
  // A join blocks later requests of the same client.
  const join = ada.ok('room:join', { roomId: 'r1' })
  await until(() => gate('first').inside.has('hook'))
  const behind = ada.request('w:quick', {})
  folder.write('waits', { 'index.ts': waiting('second') })
  const reload = server.admin('POST', '/admin/features/waits/reload')
  await until(async () => (await (await server.connect(2)).ok('w:quick', {})).text === 'second')
  gate('first').resolve()
  await join
  t.match(await behind, { ok: true, data: { text: 'second' } })
  t.equal((await reload).status, 200)
})
