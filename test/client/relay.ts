import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import type { Test } from 'tap'

/** A network between a client and a server, that can fail in the ways networks do. */
export interface Relay {
  /** Where clients find the server. */
  readonly url: string
  /** Cuts what is open and lets nothing through, until `mend()`. */
  cut (): Promise<void>
  /** Keeps connections open, but carries nothing any more. */
  freeze (): void
  /** Carries new connections again, maybe to another server. */
  mend (to?: string): Promise<void>
}

/** @param to where the server is, http://host:port */
export async function createRelay (t: Test, to: string): Promise<Relay> {
  let target = new URL(to)
  const open = new Set<Socket>()
  const server = createServer((near) => {
    const far = connect(Number(target.port), target.hostname)
    for (const socket of [near, far]) {
      open.add(socket)
      socket.on('error', () => { /* close follows */ })
      socket.once('close', () => {
        open.delete(socket)
        near.destroy()
        far.destroy()
      })
    }
    near.pipe(far)
    far.pipe(near)
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
    url: `http://127.0.0.1:${port}`,
    cut,
    freeze () {
      for (const socket of open) socket.unpipe().pause()
    },
    async mend (to) {
      if (to !== undefined) target = new URL(to)
      if (server.listening) return
      server.listen(port, '127.0.0.1')
      await once(server, 'listening')
    }
  }
}
