import { globSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import type { Test } from 'tap'
import { v7 } from 'uuid'
import type { AsyncApi } from '../../features/docs/asyncapi.ts'
import { fittingJson, nearly } from '../support/arbitrary.ts'
import type { Json } from '../support/arbitrary.ts'
import { createBackend } from '../support/backend.ts'
import { adminKey, build, tokenFor } from '../support/build.ts'
import type { TestClient } from '../support/client.ts'
import { readAsyncApi, readOpenApi } from '../support/documents.ts'
import type { DocumentedRequest, DocumentedRoute, OpenApiDocument } from '../support/documents.ts'
import { until } from '../support/retry.ts'
import { dtlsParameters, rtpCapabilities, rtpParameters } from '../support/rtp.ts'

// Compares the API documents under /docs with the server's behaviour, for every request and
// route of the kernel and all features.

// CONTRACT_SEED changes the generated data; CONTRACT_RUNS sets the number of runs (generated.long.ts).
const firstSeed = Number(process.env.CONTRACT_SEED ?? 20_260_101)
const numRuns = Number(process.env.CONTRACT_RUNS ?? 4)
/** Derives a seed from a name, so that each name always has the same seed. */
const seedOf = (name: string) => [...name].reduce((hash, character) => Math.imul(hash, 31) + character.codePointAt(0)! | 0, firstSeed)

/** Checks a property. If the property fails, the message says how to repeat the run. */
async function holds<Ts extends [unknown, ...unknown[]]> (name: string, property: fc.IAsyncProperty<Ts>, runs = numRuns): Promise<void> {
  try {
    await fc.assert(property, { seed: seedOf(name), numRuns: runs, endOnFailure: true, maxSkipsPerRun: 1000 })
  } catch (error) {
    throw new Error(`CONTRACT_SEED=${firstSeed} CONTRACT_RUNS=${numRuns}: ${(error as Error).message}`, { cause: error })
  }
}

const largestFrame = 65_536
const root = join(import.meta.dirname, '..', '..')
const features = globSync('features/*/index.ts', { cwd: root }).map((file) => basename(dirname(file)))

const backend = await createBackend()
backend.everyRoom = () => 1
backend.roles.set('r1/2', 'admin')
t.teardown(() => backend.close())
const server = await build(t, {
  env: { ...backend.env, WEBHOOK_URLS: 'http://127.0.0.1:9/webhooks', WEBHOOK_SECRET: 'a-secret-for-tests', FEATURES: features.join(), MEDIASOUP_WORKERS: '1', WS_MESSAGES_PER_SECOND: '100000', WS_MESSAGES_BURST: '100000', WS_BYTES_PER_SECOND: '100000000', WS_BYTES_BURST: '100000000', SEAT_GRACE_SECONDS: '0', TRUST_PROXY: 'true' }
})
const { app, url } = server
const read = async (path: string) => await (await fetch(url + path)).json() as unknown
const asyncapi = readAsyncApi(await read('/docs/asyncapi.json') as AsyncApi)
const openapi = await read('/docs/openapi.json') as OpenApiDocument
const clients = [await server.connect(1), await server.connect(2), await server.connect(3)]

// Placeholders stand for ids that are known only when a request is sent. A placeholder contains an owner (the sender or
// any client), a name and a number.
const owned = new Map<TestClient, Map<string, string[]>>()
const placeholder = (name: string) => fc.tuple(fc.constantFrom('own', 'own', 'own', 'any'), fc.nat(7)).map(([whose, n]) => `@${whose}.${name}:${n}`)
const idsOf = (name: string, client?: TestClient) => client === undefined ? [...owned.values()].flatMap((ids) => ids.get(name) ?? []) : owned.get(client)?.get(name) ?? []
function own (client: TestClient, name: string, id: unknown): void {
  const ids = owned.get(client) ?? new Map<string, string[]>()
  owned.set(client, ids)
  if (typeof id === 'string') ids.set(name, [...ids.get(name) ?? [], id])
}
const filled = (data: Json, client: TestClient) => JSON.parse(JSON.stringify(data).replace(/"@(\w+)\.(\w+):(\d)"/g, (_, whose: string, name: string, n: string) => {
  const ids = idsOf(name, whose === 'own' ? client : undefined)
  return JSON.stringify(ids[Number(n) % ids.length] ?? 'nothing')
})) as Json

const oneOf = (...values: Json[]) => fc.constantFrom(...values)
/** Plausible values by property name, for properties whose schema is too general. */
const named: Readonly<Record<string, fc.Arbitrary<Json>>> = {
  roomId: oneOf('r1', 'r1', 'r1', 'r1', 'r2'),
  userId: oneOf(1, 2, 3, '2', 99),
  recipientId: oneOf(1, 2, 3),
  seatIndex: fc.integer({ min: 0, max: 4 }),
  key: fc.constant(null).map(() => v7()),
  transportId: placeholder('transportId'),
  producerId: placeholder('producerId'),
  consumerId: placeholder('consumerId'),
  dtlsParameters: fc.constant(dtlsParameters),
  rtpParameters: fc.constant(null).map(() => rtpParameters()),
  rtpCapabilities: fc.constant(rtpCapabilities),
  emoji: oneOf('❤️', 'nothing')
}

/**
 * Plausible values for particular requests. They override {@link named}. The test kicks a user who does not exist (99),
 * because a kicked client could not send any more requests.
 */
const namedOf: Readonly<Record<string, typeof named>> = { 'room:kick': { ...named, userId: oneOf(99) } }

/**
 * Restores a state that makes most requests valid. Every client is in the room, has a seat (if the room has seats), and
 * sends and receives audio.
 */
async function prepare (): Promise<void> {
  owned.clear()
  for (const client of open()) {
    await join_(client)
    for (const seatIndex of [5, 6, 7]) if ((await client.request('seat:take', { seatIndex })).ok) break
    const transportId = (await client.ok('transport:create', { type: 'producer' })).id
    own(client, 'transportId', transportId)
    own(client, 'producerId', (await client.request('audio:produce', { transportId, kind: 'audio', rtpParameters: rtpParameters() })).data?.id)
  }
  for (const client of open()) {
    const transportId = (await client.ok('transport:create', { type: 'consumer' })).id
    own(client, 'transportId', transportId)
    for (const producerId of idsOf('producerId')) own(client, 'consumerId', (await client.request('audio:consume', { transportId, producerId, rtpCapabilities })).data?.id)
  }
}

const open = () => clients.filter(({ ws }) => ws.readyState === ws.OPEN)

async function join_ (client: TestClient): Promise<void> {
  if (app.sockets.get(String(client.greeting.sessionId))?.roomId !== 'r1') await client.ok('room:join', { roomId: 'r1' })
}

function expect (problem: string | undefined, what: string, value: unknown): void {
  if (problem !== undefined) throw new Error(`${what}: ${problem}: ${JSON.stringify(value)?.slice(0, 2000)}`)
}

const seen = new Set<string>()

/** Checks that every received event is documented and matches its schema. */
function checkEvents (): void {
  for (const { events } of clients) {
    for (const event of events.splice(0)) {
      const check = asyncapi.events.get(event.type)
      if (!check) throw new Error(`the event ${event.type} is not documented: ${JSON.stringify(event)}`)
      expect(check(event), `the event ${event.type}`, event)
      seen.add(event.type)
    }
  }
}

t.test('every reply and every event matches its documentation', async (t) => {
  t.ok(asyncapi.requests.length > 25, `${asyncapi.requests.length} requests`)
  t.ok(asyncapi.events.size > 25, `${asyncapi.events.size} events`)
  for (const request of asyncapi.requests) await t.test(request.type, (t) => tryRequest(t, request))
})

async function tryRequest (t: Test, { type, data, fits, reply }: DocumentedRequest): Promise<void> {
  const outcomes = new Map<string, number>()
  const valid = fittingJson(data, asyncapi.document.components.schemas, namedOf[type] ?? named)
  const sender = fc.nat(clients.length - 1)
  await prepare()

  await holds(type, fc.asyncProperty(sender, valid, async (n, data) => {
    const client = clients[n] as TestClient
    await join_(client)
    const sent = filled(data, client)
    expect(fits(sent), `the data made for ${type}`, sent)
    const answer = await client.request(type, sent)
    expect((answer.ok ? reply : asyncapi.refused)(answer), `the reply to ${type} ${JSON.stringify(sent)}`, answer)
    const outcome = answer.ok ? 'ok' : answer.error.code
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
    checkEvents()
  }))
  t.ok([...outcomes.keys()].some((outcome) => outcome !== 'VALIDATION_FAILED'), `data generated from the document is accepted: ${JSON.stringify(Object.fromEntries(outcomes))}`)

  await holds(type, fc.asyncProperty(sender, nearly(valid), async (n, data) => {
    const client = clients[n] as TestClient
    const sent = filled(data, client)
    // Skip null, which counts as no data. Skip frames that are so large that the server would close the connection.
    fc.pre(sent !== null && fits(sent) !== undefined && Buffer.byteLength(JSON.stringify(sent)) < largestFrame - 200)
    const answer = await client.request(type, sent)
    expect(asyncapi.refused(answer), `the reply to ${type} ${JSON.stringify(sent).slice(0, 500)}`, answer)
    if (answer.error.code !== 'VALIDATION_FAILED') throw new Error(`${type} with ${JSON.stringify(sent).slice(0, 500)} returned ${answer.error.code}`)
  }))
  checkEvents()
}

t.test('events that no request triggers match their documentation', async (t) => {
  const [ada] = clients as [TestClient]
  await prepare()
  checkEvents()
  ada.send({ type: 'user:getRoom', data: {} })
  await ada.event('error')
  const mend = backend.fault({ call: 'gifts', kind: 'reject' })
  await ada.ok('gift:send', { giftId: 1, recipientId: 2 })
  await ada.event('gift:error')
  mend()
  // Kill the media workers, so that the server resets the room's audio.
  for (const { pid } of app.sfu.workers()) process.kill(pid, 'SIGKILL')
  await Promise.all(clients.map((client) => client.event('media:reset')))
  await until(() => app.sfu.ready)
  checkEvents()
  t.pass('every event matches its documentation')
})

const parameters: Readonly<Record<string, fc.Arbitrary<Json>>> = {
  ...named,
  userId: oneOf('1', '2', '3', '99'),
  name: oneOf('chat', 'gifts', 'auto-close', 'nothing'),
  cascade: oneOf('true', 'false'),
  token: oneOf('no token', tokenFor(9)),
  // The deadline is 0, because otherwise, the response would arrive only after the clients have left.
  deadlineSeconds: fc.constant(0)
}
/** Request bodies by path, for routes whose schema is too general because the settings depend on the feature. */
const bodies: Readonly<Record<string, fc.Arbitrary<Json>>> = {
  '/admin/features/{name}/config': oneOf({}, {}, { history: null }, { history: 20 }, { nothing: 1 })
}
/** The order in which the HTTP methods are tested: first those with reversible changes. */
const order = ['GET', 'PATCH', 'POST', 'DELETE']
const routes = readOpenApi(openapi).sort((a, b) => Number(a.path === '/admin/drain') - Number(b.path === '/admin/drain') || order.indexOf(a.method) - order.indexOf(b.method))

t.test('every route matches its documentation', async (t) => {
  t.ok(routes.length > 20, `${routes.length} routes`)
  for (const route of routes) await t.test(`${route.method} ${route.path}`, (t) => tryRoute(t, route))
})

interface Call { parameters: Record<string, Json>, body?: Json }

async function tryRoute (t: Test, route: DocumentedRoute): Promise<void> {
  const schemas = openapi.components.schemas
  const given = fc.record(Object.fromEntries(route.parameters.map(({ name, schema }) => [name, parameters[name] ?? fittingJson(schema, schemas, parameters)])), {
    requiredKeys: route.parameters.filter(({ required }) => required).map(({ name }) => name)
  }) as fc.Arbitrary<Record<string, Json>>
  const body = route.body && (bodies[route.path] ?? fittingJson(route.body.schema, schemas, parameters))
  const statuses = new Map<number, number>()

  if (route.security.length > 0 && !route.securityIsOptional) {
    const [call] = fc.sample(fc.record({ parameters: given, ...(body ? { body } : {}) }), { seed: firstSeed, numRuns: 1 })
    const { status } = await send(route, call as Call, false)
    t.equal(status, 401, 'a call without a key is rejected')
  }

  await holds(route.method + route.path, fc.asyncProperty(given, body ?? fc.constant(undefined), async (parameters, body) => {
    if (!app.drain.draining) for (const client of open()) await join_(client)
    const { status } = await send(route, { parameters, ...(body === undefined ? {} : { body }) })
    statuses.set(status, (statuses.get(status) ?? 0) + 1)
    for (const name of ['chat', 'gifts', 'auto-close']) if (!app.features.enabled().includes(name)) await app.features.enable(name)
    await Promise.all(open().map((client) => client.flush()))
    checkEvents()
  }), Math.ceil(numRuns / 2))
  t.ok([...statuses.keys()].some((status) => status !== 400), `data generated from the document is accepted: ${JSON.stringify(Object.fromEntries(statuses))}`)

  if (!route.body || !body) return
  const { fits } = route.body
  await holds(route.method + route.path, fc.asyncProperty(given, nearly(body), async (parameters, body) => {
    fc.pre(fits(body) !== undefined)
    const { status, code } = await send(route, { parameters, body })
    if (status !== 400 || code !== 'VALIDATION_FAILED') throw new Error(`${JSON.stringify(body)} returned ${status} ${code}`)
  }), Math.ceil(numRuns / 2))
}

let calls = 0
/** Distributes the calls over many client addresses, so that no address reaches the rate limit. */
const nextAddress = () => `10.0.${Math.floor(++calls / 250)}.${calls % 250}`

/** @throws if the response does not match the OpenAPI document */
async function send (route: DocumentedRoute, { parameters, body }: Call, withKey = true): Promise<{ status: number, code: string | undefined }> {
  const path = route.path.replaceAll(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(String(parameters[name])))
  const query = new URLSearchParams(route.parameters.filter(({ in: where, name }) => where === 'query' && name in parameters).map(({ name }) => [name, String(parameters[name])]))
  const keys: Record<string, string> = { adminKey, token: tokenFor(1) }
  const key = withKey ? keys[route.security[0] ?? ''] : undefined
  const response = await fetch(`${url}${path}?${query}`, {
    method: route.method,
    headers: { 'x-forwarded-for': nextAddress(), ...(key === undefined ? {} : { authorization: `Bearer ${key}` }), ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) })
  })
  const type = response.headers.get('content-type') ?? ''
  const text = await response.text()
  const answer = type.startsWith('application/json') ? JSON.parse(text) as { error?: { code: string } } : text
  expect(route.answer(response.status, type, answer), `${route.method} ${path} ${JSON.stringify({ parameters, body })}`, answer)
  return { status: response.status, code: typeof answer === 'object' ? answer.error?.code : undefined }
}

t.test('the run covers at least 25 event types', async (t) => {
  const missed = [...asyncapi.events.keys()].filter((type) => !seen.has(type))
  t.comment(`events that were not received: ${missed.join(', ')}`)
  // Other tests cover the events that need audio, many users, or a backend with Redis.
  const relayed = asyncapi.document.info.tags.find(({ name }) => name === 'laravel-bridge')
  t.ok(relayed)
  t.ok(seen.size >= 25, `${seen.size} event types`)
})
