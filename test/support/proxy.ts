import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import type { Test } from 'tap'

/** A TCP proxy to a server, for tests that manipulate the traffic. */
export interface Proxy {
  readonly port: number
  /** Open sockets to clients and to the server. */
  readonly open: ReadonlySet<Socket>
  /** Destroys all connections and rejects new connections until `listen()` is called. */
  cut (): Promise<void>
  listen (): Promise<void>
}

/**
 * @param portOf returns the port on 127.0.0.1 that the next connection is forwarded to
 * @param carry handles a chunk from a client; by default, writes the chunk to `far`, the socket to the server
 */
export async function createProxy (t: Test, portOf: () => number, carry = (chunk: Buffer, far: Socket): unknown => far.write(chunk)): Promise<Proxy> {
  const open = new Set<Socket>()
  const server = createServer((near) => {
    const far = connect(portOf(), '127.0.0.1')
    for (const socket of [near, far]) {
      open.add(socket)
      socket.on('error', () => { /* `close` is emitted next. */ })
      socket.once('close', () => {
        open.delete(socket)
        near.destroy()
        far.destroy()
      })
    }
    far.pipe(near)
    near.on('data', (chunk: Buffer) => carry(chunk, far))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo

  async function cut () {
    for (const socket of open) socket.destroy()
    if (!server.listening) return
    server.close()
    await once(server, 'close')
  }
  t.teardown(cut)
  return {
    port,
    open,
    cut,
    async listen () {
      if (server.listening) return
      server.listen(port, '127.0.0.1')
      await once(server, 'listening')
    }
  }
}
