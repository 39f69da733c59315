import { once } from 'node:events'
import { connect as openSocket } from 'node:net'
import type { Socket } from 'node:net'
import t from 'tap'
import { adminKey, build } from '../support/build.ts'
import type { TestServer } from '../support/build.ts'

const kiB = 1024

async function open ({ url }: TestServer, text: string): Promise<{ socket: Socket, received: () => string, closed: Promise<unknown> }> {
  const { hostname, port } = new URL(url)
  const socket = openSocket(Number(port), hostname)
  let received = ''
  socket.on('data', (data) => { received += data.toString('latin1') })
  socket.on('error', () => { /* The server may reset the connection. */ })
  await once(socket, 'connect')
  socket.write(text)
  return { socket, received: () => received, closed: once(socket, 'close') }
}

const post = (path: string, length: number) => `POST ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${adminKey}\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n`

t.test('limits the size and the depth of bodies', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,chat,gifts' } })
  const call = async (path: string, body: string) => {
    const response = await fetch(server.url + path, { method: 'POST', body, headers: { authorization: `Bearer ${adminKey}`, 'content-type': 'application/json' } })
    return { status: response.status, ...await response.json() as { error: { code: string, message: string } } }
  }
  const nested = (levels: number) => '['.repeat(levels) + ']'.repeat(levels)

  for (const path of ['/nothing', '/admin/nothing', '/admin/rooms/r1/close/nothing']) {
    const { received, closed } = await open(server, post(path, 1_000_000))
    await closed
    t.match(received(), /^HTTP\/1\.1 404 [^]*NOT_FOUND/, `${path} is rejected and closed before its body arrives`)
  }
  for (const path of ['/admin/rooms/r1/close', '/admin/gifts/dead-letters/replay']) {
    t.match(await call(path, `"${'x'.repeat(64 * kiB)}"`), { status: 413, error: { code: 'VALIDATION_FAILED' } }, `${path}: larger than 64 KiB`)
    t.match(await call(path, nested(33)), { status: 400, error: { code: 'VALIDATION_FAILED', message: 'The body must not nest more than 32 levels' } })
    t.match(await call(path, `[${Array(2000).fill('{}').join(',')}]`), { status: 400, error: { code: 'VALIDATION_FAILED', message: 'The body must not have more than 2000 values' } })
    t.match(await call(path, `{"x":"${'[{,'.repeat(10_000)}`), { status: 400, error: { message: /JSON/ } }, 'characters in a string are not values')
  }
})

t.test('closes the connection of a slow request with 408', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,chat' }, timings: { requestMs: 600, headersMs: 300 } })
  const client = await server.connect(1)
  const body = await open(server, post('/admin/rooms/r1/close', 100) + '{')
  const headers = await open(server, 'GET /livez HTTP/1.1\r\nHost: x\r\n')
  await Promise.all([body.closed, headers.closed])
  t.match(body.received(), /^HTTP\/1\.1 408 /, 'an incomplete body')
  t.match(headers.received(), /^HTTP\/1\.1 408 /, 'incomplete headers')
  await client.ok('user:getRoom', { userId: 'nobody' })
  t.equal(client.ws.readyState, client.ws.OPEN, 'WebSockets have no such limit')
})

t.test('a client that disconnects causes no warning', async (t) => {
  const lines: Record<string, unknown>[] = []
  const server = await build(t, { env: { FEATURES: 'auth,docs' }, log: (line) => lines.push(line) })
  for (let i = 0; i < 50; i++) {
    const { socket, closed } = await open(server, 'GET /docs HTTP/1.1\r\nHost: x\r\n\r\n')
    socket.resetAndDestroy()
    await closed
  }
  t.equal((await fetch(`${server.url}/livez`)).status, 200)
  t.same(lines.filter(({ level }) => Number(level) >= 40), [], 'no warning or error is logged')
})
