import { connect } from 'node:net'
import { once } from 'node:events'
import t from 'tap'
import type { Test } from 'tap'
import { RoomClient } from '../../client/index.ts'
import { build, tokenFor } from '../support/build.ts'
import type { TestServer } from '../support/build.ts'
import { redisDatabase } from '../support/redis.ts'
import { until } from '../support/retry.ts'

const backoff = { firstMs: 20, longestMs: 100 }

/** Starts two servers that share one Redis. Server `b` has the URL of `a` in its NODE_URLS. */
async function pair (t: Test, env: Record<string, string> = {}, nodeReportMs = 200) {
  const both = { REDIS_URL: await redisDatabase(), FEATURES: 'auth,chat,seats' }
  const timings = { nodeReportMs }
  const a = await build(t, { env: { ...both, NODE_ID: 'a' }, timings })
  const b = await build(t, { env: { ...both, NODE_ID: 'b', NODE_URLS: `a=${a.url}, c=https://c.example.com`, ...env }, timings })
  await until(() => [a, b].every(({ app }) => app.nodes.list().length === 2))
  return { a, b }
}

const stateOf = (server: TestServer, name: string) => server.app.nodes.list().find((node) => node.name === name)?.state
const change = (server: TestServer, node: string, body: object) => server.admin('POST', `/admin/nodes/${node}`, body)

/** @returns the complete response to an upgrade request */
async function upgrade (server: TestServer): Promise<string> {
  const { hostname, port } = new URL(server.url)
  const socket = connect(Number(port), hostname)
  socket.write(`GET /ws HTTP/1.1\r\nhost: ${hostname}\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-protocol: msab.v1, bearer.${await tokenFor(9)}\r\n\r\n`)
  let text = ''
  socket.on('data', (chunk) => { text += String(chunk) })
  await once(socket, 'close')
  return text
}

t.test('each server shows the load of all servers', async (t) => {
  const { a, b } = await pair(t)
  const client = await a.connect(1)
  await client.ok('room:join', { roomId: 'r1' })
  await until(() => b.app.nodes.list()[1]?.rooms === 1)
  const { body } = await b.admin('GET', '/admin/nodes')
  t.match(body, { nodes: [{ name: 'b', state: 'ready', connections: 0 }, { name: 'a', state: 'ready', connections: 1, rooms: 1, consumers: 0, workersCpu: Array, relayPorts: { used: 0, total: 1000 }, isFull: false }] })
  t.match((await b.admin('GET', '/health')).body, { nodes: [{ name: 'b' }, { name: 'a', connections: 1 }] })
  t.notMatch(await (await fetch(`${b.url}/health`)).json(), { nodes: Array })
  await until(async () => /^flylive_nodes\{.*state="ready".*\} 2$/m.test(await (await fetch(`${b.url}/metrics`)).text()))
  t.equal((await change(b, 'nobody', { state: 'ready' })).status, 404)
  t.equal((await change(b, 'a', { state: 'gone' })).status, 400)
  await a.close()
  await until(() => b.app.nodes.list().length === 1)
})

t.test('a cordoned server creates no rooms; clients move to the server that it names', async (t) => {
  const { a, b } = await pair(t)
  const old = await b.connect(1)
  await old.ok('room:join', { roomId: 'old' })
  t.match(await change(a, 'b', { state: 'cordon' }), { status: 200, body: { name: 'b', state: 'cordon' } })
  t.equal(stateOf(a, 'b'), 'cordon')
  t.match(await old.request('room:join', { roomId: 'new' }), { ok: false, error: { code: 'OVERLOADED', details: { url: a.url, retryAfterMs: Number } } })
  const second = await b.connect(2)
  await second.ok('room:join', { roomId: 'old' })
  const room = new RoomClient({ url: b.url, token: () => tokenFor(3), audio: false, backoff })
  t.teardown(() => room.close())
  await room.join('new')
  t.match([...a.app.sockets.ofUser('3')], [{ roomId: 'new' }])
  t.equal((await change(a, 'b', { state: 'ready' })).status, 200)
  await second.ok('room:join', { roomId: 'newer' })
})

t.test('a full server returns OVERLOADED; clients move to the server that it names', async (t) => {
  const { a, b } = await pair(t, { MAX_CONNECTIONS: '1' })
  await b.connect(1)
  const response = await upgrade(b)
  t.match(response, /^HTTP\/1\.1 503 /)
  t.match(response, /^retry-after: 5\r$/mi)
  t.match(JSON.parse(response.slice(response.indexOf('\r\n\r\n') + 4)), { error: { code: 'OVERLOADED', details: { url: a.url } } })
  await until(() => a.app.nodes.list()[1]?.isFull === true)
  const room = new RoomClient({ url: b.url, token: () => tokenFor(3), audio: false, backoff })
  t.teardown(() => room.close())
  await room.join('r1')
  t.match([...a.app.sockets.ofUser('3')], [{ roomId: 'r1' }])
})

t.test('clients of a draining server move to another server, without a load balancer', async (t) => {
  const { a, b } = await pair(t)
  const room = new RoomClient({ url: b.url, token: () => tokenFor(1), audio: false, backoff })
  t.teardown(() => room.close())
  await room.join('r1')
  await room.seats.takeFree()
  const old = await b.connect(4)
  const idle = new RoomClient({ url: b.url, token: () => tokenFor(5), audio: false, backoff })
  t.teardown(() => idle.close())
  await idle.connection.connect()
  const states: string[] = []
  room.on('state', (state) => states.push(state))
  room.connection.on('state', (state) => states.push(state))
  const witness = await a.connect(2)
  await witness.ok('room:join', { roomId: 'r1' })
  t.match(await change(a, 'b', { state: 'drain', deadlineSeconds: 2 }), { status: 200, body: { name: 'b', state: 'drain' } })
  await until(() => [...b.app.sockets.ofUser('1')].length === 0)
  t.match([...a.app.sockets.ofUser('1')], [{ roomId: 'r1' }])
  t.same(states, [], 'the client stays in the room and connected')
  t.equal(room.seats.own?.seatIndex, 0)
  t.same(witness.events.filter(({ type }) => ['room:userLeft', 'room:userJoined', 'seat:cleared'].includes(type)), [], 'other members receive no event')
  t.match(await old.request('room:join', { roomId: 'new' }), { ok: false, error: { code: 'DRAINING', details: { url: a.url, retryAfterMs: Number } } })
  await old.ok('room:join', { roomId: 'r1' })
  await old.close()
  await idle.join('new')
  t.match([...a.app.sockets.ofUser('5')], [{ roomId: 'new' }], 'a new room is opened on the other server')
  await until(() => b.app.sockets.size === 0)
  const refused = JSON.parse((await upgrade(b)).split('\r\n\r\n')[1] ?? '') as object
  t.match(refused, { error: { code: 'DRAINING', details: { url: a.url } } })

  t.equal((await change(a, 'b', { state: 'ready' })).status, 200)
  const back = await b.connect(3)
  await back.ok('room:join', { roomId: 'r3' })
})

t.test('the other servers are notified immediately when a server drains', async (t) => {
  const { a, b } = await pair(t, {}, 600_000)
  t.same(b.app.nodes.urls(), [a.url])
  t.equal((await a.admin('POST', '/admin/drain', { deadlineSeconds: 0 })).status, 200)
  await until(() => stateOf(b, 'a') === 'drain')
  t.same(b.app.nodes.urls(), [])
  a.app.drain.cancel()
  await until(() => stateOf(b, 'a') === 'ready')
})

t.test('an admin cannot end the drain of a server that is stopping', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth' } })
  const ada = await server.connect(1)
  const draining = server.app.drain.begin(600, true)
  for (const state of ['cordon', 'ready']) t.match(await server.admin('POST', `/admin/nodes/${server.app.nodeId}`, { state }), { status: 200, body: { state: 'drain' } })
  t.equal(server.app.drain.draining, true)
  await ada.close()
  t.equal(await draining, 'empty')
})
