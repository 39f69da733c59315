import { createSocket } from 'node:dgram'
import type { RemoteInfo, Socket } from 'node:dgram'
import { once } from 'node:events'
import type { Test } from 'tap'

// Simulates faults on the path between clients and media workers. All addresses are on this machine.

/** An announced address at which nothing listens, until {@link forwardMedia} is called. */
export const unreachableAddress = '127.0.0.2'

/**
 * Makes {@link unreachableAddress} reachable: forwards UDP packets to the same port on 127.0.0.1, and the replies back.
 *
 * @param passes decides whether to forward a reply; by default, all replies are forwarded
 */
export async function forwardMedia (t: Test, port: number, passes: (answer: Buffer) => boolean = () => true): Promise<void> {
  const near = createSocket('udp4')
  const far = new Map<string, Socket>()
  near.on('message', (packet, from) => {
    const key = `${from.address}:${from.port}`
    let socket = far.get(key)
    if (!socket) {
      socket = createSocket('udp4')
      socket.on('message', (answer) => { if (passes(answer)) near.send(answer, from.port, from.address) })
      far.set(key, socket)
    }
    socket.send(packet, port, '127.0.0.1')
  })
  t.teardown(() => {
    for (const socket of [near, ...far.values()]) socket.close()
  })
  near.bind(port, unreachableAddress)
  await once(near, 'listening')
}

/**
 * Starts a TURN server (RFC 8656) that rejects all credentials, as coturn does with a wrong `TURN_SECRET`.
 *
 * @returns its URL
 */
export async function createRejectingTurnServer (t: Test): Promise<string> {
  const server = createSocket('udp4')
  server.on('message', (request: Buffer, from: RemoteInfo) => {
    const isAllocate = request.readUInt16BE(0) === 0x0003
    if (isAllocate) server.send(unauthorized(request.subarray(8, 20)), from.port, from.address)
  })
  t.teardown(() => { server.close() })
  server.bind(0, '127.0.0.1')
  await once(server, 'listening')
  return `turn:127.0.0.1:${server.address().port}?transport=udp`
}

/** An error response (code 401) to an Allocate request. */
function unauthorized (transactionId: Buffer): Buffer {
  const attributes = Buffer.concat([
    attribute(0x0009, Buffer.concat([Buffer.from([0, 0, 4, 1]), Buffer.from('Unauthorized')])),
    attribute(0x0014, Buffer.from('test')),
    attribute(0x0015, Buffer.from('nonce'))
  ])
  const header = Buffer.alloc(8)
  header.writeUInt16BE(0x0113, 0)
  header.writeUInt16BE(attributes.length, 2)
  header.writeUInt32BE(0x2112a442, 4)
  return Buffer.concat([header, transactionId, attributes])
}

function attribute (type: number, value: Buffer): Buffer {
  const head = Buffer.alloc(4)
  head.writeUInt16BE(type, 0)
  head.writeUInt16BE(value.length, 2)
  return Buffer.concat([head, value, Buffer.alloc((4 - value.length % 4) % 4)])
}
