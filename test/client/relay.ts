import type { Test } from 'tap'
import { createProxy } from '../support/proxy.ts'

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

const portOf = (url: string) => Number(new URL(url).port)

/** @param to where the server is, http://127.0.0.1:port */
export async function createRelay (t: Test, to: string): Promise<Relay> {
  let target = portOf(to)
  const proxy = await createProxy(t, () => target)
  return {
    url: `http://127.0.0.1:${proxy.port}`,
    cut: () => proxy.cut(),
    freeze () {
      for (const socket of proxy.open) socket.unpipe().removeAllListeners('data').pause()
    },
    async mend (to) {
      if (to !== undefined) target = portOf(to)
      await proxy.listen()
    }
  }
}
