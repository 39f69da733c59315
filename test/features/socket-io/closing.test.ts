import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Socket as EngineSocket } from 'engine.io'
import { createSigner } from 'fast-jwt'
import t from 'tap'
import type { Test } from 'tap'
import type { WebSocket } from 'ws'
import { socketIoFace } from '../../../features/socket-io/face.ts'
import { createGateway } from '../../../features/socket-io/gateway.ts'
import { build, jwtSecret, tokenFor } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { until } from '../../support/retry.ts'
import { enter } from './support.ts'
import type { SocketIoClient } from './support.ts'

// Socket.IO clients must reconnect after the same close reasons as the project's client package.

const transports = ['websocket', 'polling'] as const
const sign = createSigner({ key: jwtSecret, algorithm: 'HS256' })
/**
 * Whether the server has sent a disconnect packet. By default, the Socket.IO library does not reconnect after this
 * packet.
 */
const staysAway = ({ disconnects }: SocketIoClient) => disconnects.includes('io server disconnect')

/** @returns the WebSocket of a client that uses the WebSocket transport */
function webSocketOf ({ socket }: SocketIoClient): WebSocket {
  return (socket.io.engine.transport as unknown as { ws: WebSocket }).ws
}

/**
 * Stops reading from a client's WebSocket. A paused WebSocket cannot complete the closing handshake, so the teardown
 * terminates the connection.
 */
function pauseReading (t: Test, client: SocketIoClient): void {
  const ws = webSocketOf(client)
  ws.pause()
  t.teardown(() => ws.terminate())
}

interface Ending {
  /** Closes the client's session. */
  end (server: TestServer, client: SocketIoClient, user: { id: number, token: string }): unknown
  isFinal: boolean
  /** The code in the `error` event that the client receives before the connection ends. */
  error?: string
  code: number
}

const endings: Record<string, Ending> = {
  KICKED: { isFinal: true, error: 'KICKED', code: 4403, end: ({ admin }, _client, { id }) => admin('POST', '/admin/rooms/r1/kick', { userId: id }) },
  UNAUTHORIZED: { isFinal: true, error: 'UNAUTHORIZED', code: 4401, end: ({ admin }, _client, { token }) => admin('POST', '/admin/tokens/revoke', { token }) },
  REPLACED: { isFinal: true, error: 'REPLACED', code: 4409, end: ({ connect }, _client, { id }) => connect(id, { face: 'native' }) },
  TOKEN_EXPIRED: { isFinal: false, error: 'TOKEN_EXPIRED', code: 4401, end: () => {} },
  FLOODING: {
    isFinal: false,
    error: 'FLOODING',
    code: 4429,
    end (_server, { socket }) {
      for (let i = 0; i < 300; i++) socket.emit('user:getRoom', { userId: 1 })
    }
  },
  SHUTTING_DOWN: { isFinal: false, code: 1001, end: ({ admin }) => admin('POST', '/admin/features/socket-io/disable') }
}

t.test('the close reason determines whether a client reconnects', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,chat,socket-io', SINGLE_SESSION: 'true' } })
  const bob = await server.connect('bob', { face: 'native' })
  await bob.ok('room:join', { roomId: 'r1' })
  const clients = await Promise.all(Object.entries(endings).flatMap(([reason, ending], n) => transports.map(async (transport, i) => {
    const id = 10 * n + i
    const token = reason === 'TOKEN_EXPIRED' ? sign({ id, name: 'Ada', exp: Math.floor(Date.now() / 1000) + 4 }) : tokenFor(id)
    const client = await enter(t, server.url, id, { token, transports: [transport] })
    const closeCodes: (number | undefined)[] = []
    client.socket.on('disconnect', (_reason, details) => closeCodes.push((details as { context?: { code?: number } } | undefined)?.context?.code))
    await client.ask('room:join', { roomId: 'r1' })
    return { id, token, transport, reason, client, closeCodes, ...ending }
  })))
  for (const { id, token, transport, reason, client, closeCodes, end, isFinal, error, code } of clients) {
    const name = `${reason} over ${transport}`
    await end(server, client, { id, token })
    await until(() => client.disconnects.length > 0).catch(() => t.fail(`${name}: the client was not disconnected`))
    t.equal(client.disconnects.length, 1, name)
    t.equal(staysAway(client), isFinal, `${name}: ${client.disconnects[0]}`)
    const codes = client.events.filter(({ type }) => type === 'error').map(({ data }) => data.code)
    t.same(codes, error === undefined ? [] : [error], name)
    if (transport === 'websocket' && !isFinal) t.equal(closeCodes[0], code, `${name}: the close code is in the details`)
    await bob.event('room:userLeft', ({ userId }) => userId === id)
  }
  await until(() => [...server.app.sockets.all()].every(({ face }) => face.name === 'json'))
})

t.test('a client that does not read is disconnected, and other members are not affected', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,chat,socket-io', WS_MAX_QUEUE_BYTES: '262144' } })
  const ada = await server.connect(1, { face: 'native' })
  const clients = await Promise.all(transports.map((transport, i) => enter(t, server.url, 2 + i, { transports: [transport] })))
  for (const client of [ada.ok('room:join', { roomId: 'r1' }), ...clients.map(({ ask }) => ask('room:join', { roomId: 'r1' }))]) await client
  const [overWebSocket, overPolling] = clients as [SocketIoClient, SocketIoClient]
  pauseReading(t, overWebSocket)
  // If the client does not poll, packets wait on the server.
  ;(overPolling.socket.io.engine.transport as unknown as { _poll (): void })._poll = () => {}
  const text = 'x'.repeat(30_000)
  await until(async () => {
    for (let i = 0; i < 5; i++) server.app.rooms.emit('r1', 'x:text', { text }, { local: true })
    await ada.flush()
    return server.app.sockets.size === 1
  })
  const left = ada.events.filter(({ type }) => type === 'room:userLeft').map(({ data }) => data.userId)
  t.same(new Set(left), new Set([2, 3]))
  t.match(await (await fetch(`${server.url}/metrics`)).text(), /flylive_socket_closed_total\{code="4410"\} 2/)
})

t.test('a client that reads slowly is not disconnected', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,socket-io', WS_MAX_QUEUE_BYTES: '262144' } })
  const clients = await Promise.all(transports.map((transport, i) => enter(t, server.url, i, { transports: [transport] })))
  const text = 'x'.repeat(30_000)
  for (let i = 0; i < 40; i++) {
    server.app.sockets.broadcast('x:text', { i, text })
    for (const { events } of clients) await until(() => events.filter(({ type }) => type === 'x:text').length === i + 1)
  }
  t.equal(server.app.sockets.size, 2)
})

t.test('a client that loses its connection leaves its room', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,socket-io', WS_PING_SECONDS: '1', WS_PONG_TIMEOUT_SECONDS: '4' } })
  const ada = await server.connect(1, { face: 'native' })
  await ada.ok('room:join', { roomId: 'r1' })
  const [lost, silent, kept] = [await enter(t, server.url, 2), await enter(t, server.url, 3), await enter(t, server.url, 4)]
  for (const { ask } of [lost, silent, kept]) await ask('room:join', { roomId: 'r1' })
  webSocketOf(lost).terminate()
  await ada.event('room:userLeft', ({ userId }) => userId === 2)
  pauseReading(t, silent)
  await ada.event('room:userLeft', ({ userId }) => userId === 3)
  t.match(await kept.ask('user:getRoom', { userId: 4 }), { data: { roomId: 'r1' } })
  t.equal(kept.disconnects.length, 0)
})

t.test('the library reconnects automatically if the server closes the connection for a temporary reason', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,socket-io' } })
  const client = await enter(t, server.url, 1)
  client.socket.io.reconnection(true).reconnectionDelay(10)
  for (const session of server.app.sockets.all()) session.close('OVERLOADED')
  await until(() => client.events.filter(({ type }) => type === 'session:ready').length === 2)
  for (const session of server.app.sockets.all()) session.close('KICKED')
  await until(() => client.disconnects.length === 2)
  t.same(client.disconnects, ['transport close', 'io server disconnect'])
  t.equal(client.socket.active, false)
})

t.test('closing the gateway also closes a connection that is waiting for a last poll', async (t) => {
  const connections: EngineSocket[] = []
  const gateway = createGateway({ WS_MAX_FRAME_BYTES: 1024, WS_PING_SECONDS: 25, WS_PONG_TIMEOUT_SECONDS: 20 }, {
    face: socketIoFace,
    arrived: (connection) => { connections.push(connection) },
    identify: () => Promise.reject(new Error('no token')),
    open: () => { throw new Error('no user') }
  })
  const server = createServer(gateway.handleRequest).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/socket.io/?EIO=4&transport=polling`
  const open = async () => JSON.parse((await (await fetch(url)).text()).slice(1)) as { sid: string }
  const { sid } = await open()
  await open()
  connections[0]?.close()
  t.same(connections.map(({ readyState }) => readyState), ['closing', 'open'])
  gateway.close()
  t.same(connections.map(({ readyState }) => readyState), ['closed', 'closed'])
  t.match(await (await fetch(`${url}&sid=${sid}`)).json(), { message: 'Session ID unknown' })
})
