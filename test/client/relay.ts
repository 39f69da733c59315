import type { Test } from 'tap'
import { createProxy } from '../support/proxy.ts'

/**
 * A relay for connections between clients and a server. A test can interrupt the relay to simulate network failures.
 */
export interface Relay {
  /** The URL that clients connect to. */
  readonly url: string
  /** Closes all connections and rejects new connections until `mend()` is called. */
  cut (): Promise<void>
  /** Keeps connections open but forwards no data. */
  freeze (): void
  /** Accepts connections again, optionally to another server. */
  mend (to?: string): Promise<void>
}

const portOf = (url: string) => Number(new URL(url).port)

/** @param to URL of the server, http://127.0.0.1:port */
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
