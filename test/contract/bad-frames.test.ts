import { isUtf8 } from 'node:buffer'
import type { Socket } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import { tries } from '../support/arbitrary.ts'
import { scene } from '../support/scene.ts'
import { nativeOnly } from '../support/client.ts'
import type { TestClient } from '../support/client.ts'
import { until } from '../support/retry.ts'

const limit = 65_536
/** The client's TCP socket, for writing raw bytes. */
const socketOf = (client: TestClient) => (client.ws as unknown as { _socket: Socket })._socket
const question = { id: 1, type: 'user:getRoom', data: { userId: 'nobody' } }

t.test('invalid frames close only their connection', nativeOnly, async (t) => {
  const { server, attacker, exchange, unharmed } = await scene(t, { FEATURES: 'auth,media' })
  const ended = async (send: (client: TestClient) => void) => {
    const client = await server.connect('another')
    await client.ok('room:join', { roomId: 'r3' })
    send(client)
    const { code, reason } = await client.closed
    return `${code} ${reason}`.trim()
  }
  const text = JSON.stringify(question)

  t.equal(await ended((client) => client.ws.send(Buffer.from(text))), '1003 UNSUPPORTED_DATA', 'a binary frame')
  t.equal(await ended((client) => client.ws.send(Buffer.alloc(0))), '1003 UNSUPPORTED_DATA', 'an empty binary frame')
  t.equal(await ended((client) => client.ws.send(Buffer.from([0x7b, 0xff, 0x7d]), { binary: false })), '1007', 'not UTF-8')
  t.equal(await ended((client) => client.ws.send(Buffer.from([0xed, 0xa0, 0x80]), { binary: false })), '1007', 'an unpaired surrogate')
  t.equal(await ended((client) => client.ws.send('x'.repeat(limit + 1))), '1009 MESSAGE_TOO_BIG', 'too big')
  t.equal(await ended((client) => client.ws.send('ä'.repeat(limit / 2 + 1))), '1009 MESSAGE_TOO_BIG', 'too many bytes, but not too many characters')
  t.equal(await ended((client) => {
    client.ws.send('x'.repeat(limit), { fin: false })
    client.ws.send('x', { fin: true })
  }), '1009 MESSAGE_TOO_BIG', 'too big in fragments')
  // Send only a frame header that announces 2^62 bytes of text.
  t.equal(await ended((client) => socketOf(client).write(Buffer.from([0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]))), '1009 MESSAGE_TOO_BIG', 'too big, according to its header')
  t.equal(await ended((client) => socketOf(client).write(Buffer.from([0x81, 0x02, 0x7b, 0x7d]))), '1002', 'an unmasked frame')
  t.equal(await ended((client) => socketOf(client).write(Buffer.from([0xc1, 0x80, 1, 2, 3, 4]))), '1002', 'compressed, although no compression was negotiated')
  t.equal(await ended((client) => socketOf(client).write(Buffer.from([0x83, 0x80, 1, 2, 3, 4]))), '1002', 'unknown opcode')
  t.equal(await ended((client) => socketOf(client).write(Buffer.from([0x80, 0x80, 1, 2, 3, 4]))), '1002', 'a continuation without a first fragment')
  t.equal(await ended((client) => socketOf(client).write(Buffer.from([0x89, 0xfe, 0, 126, 1, 2, 3, 4]))), '1002', 'a ping that is too long')

  const full = text.replace('nobody', 'x'.repeat(limit - text.length + 'nobody'.length))
  t.equal(Buffer.byteLength(full), limit)
  t.match(await exchange(full), [{ id: 1, ok: false, error: { code: 'VALIDATION_FAILED' } }], 'a frame of exactly the maximum size')
  const before = attacker.events.at(-1)
  attacker.ws.send(text.slice(0, 10), { fin: false })
  attacker.ws.send(text.slice(10), { fin: true })
  t.match(await until(() => attacker.events.find((message) => 'ok' in message && message !== before) ?? false), { id: 1, ok: true }, 'the server accepts a message in fragments')
  await until(() => server.app.rooms.get('r3') === undefined)
  await unharmed(t)
})

t.test('survives random bytes in a frame', nativeOnly, async (t) => {
  const { server, unharmed } = await scene(t, { FEATURES: 'auth,media' })
  let client = await server.connect('another')
  const octets = fc.uint8Array({ maxLength: 2000 })
  await fc.assert(fc.asyncProperty(octets, fc.boolean(), async (octets, binary) => {
    const from = client.events.length
    client.ws.send(octets, { binary })
    const expected = binary ? 1003 : isUtf8(octets) ? undefined : 1007
    if (expected === undefined) {
      await client.event('error', ({ code }) => code === 'VALIDATION_FAILED')
      await client.flush()
      if (client.events.length !== from + 1) throw new Error(`received ${client.events.length - from} replies`)
      return
    }
    const { code } = await client.closed
    client = await server.connect('another')
    if (code !== expected) throw new Error(`closed with ${code}`)
  }), tries(100))
  await unharmed(t)
})

t.test('survives random bytes instead of frames', nativeOnly, async (t) => {
  const { server, unharmed } = await scene(t, { FEATURES: 'auth,media' })
  await fc.assert(fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 3000 }), async (octets) => {
    const client = await server.connect('another')
    await client.ok('room:join', { roomId: 'r3' })
    // End the connection: if the bytes are the start of a valid frame, the server waits for the rest of the frame.
    socketOf(client).end(octets)
    await client.closed
  }), tries(60))
  await until(() => server.app.sockets.size === 3)
  await unharmed(t)
})
