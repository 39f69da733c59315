import type { Socket } from 'node:net'
import type { Test } from 'tap'
import { createClient } from '../../../features/laravel-bridge/client.ts'
import type { BackendClient, ClientOptions } from '../../../features/laravel-bridge/client.ts'
import { createMetrics } from '../../../plugins/metrics.ts'
import type { Metrics } from '../../../plugins/metrics.ts'
import { backendKey, eventsChannel } from '../../support/backend.ts'
import type { Backend, Status } from '../../support/backend.ts'
import { createProxy } from '../../support/proxy.ts'

/** Creates a client for calls to the backend; the client is closed after the test. */
export function clientOf (t: Test, backend: Backend, options: Partial<ClientOptions> = {}): { client: BackendClient, metrics: Metrics } {
  const metrics = createMetrics()
  const client = createClient({ url: backend.url, key: backendKey, timeoutMs: 10_000, metrics, ...options })
  t.teardown(() => client.close())
  return { client, metrics }
}

/** @returns the value of the metric whose line in /metrics starts with `line` */
export async function valueOf ({ registry }: Metrics, line: string): Promise<number | undefined> {
  const found = (await registry.metrics()).split('\n').find((text) => text.startsWith(`${line} `))
  return found === undefined ? undefined : Number(found.slice(line.length + 1))
}

/** Creates a proxy to Redis that can drop all messages to subscribers without closing the subscribers' connections. */
export async function silenceableProxy (t: Test, port: number) {
  const subscribers = new Set<Socket>()
  let silent = false
  const proxy = await createProxy(t, () => port, (chunk, far) => {
    const text = String(chunk)
    if (/subscribe/i.test(text) && text.includes(eventsChannel)) {
      subscribers.add(far)
      if (silent) return
    }
    far.write(chunk)
  })
  return {
    url: `redis://127.0.0.1:${proxy.port}/3`,
    /** Stops forwarding messages to current subscribers and, if `later` is true, to future subscribers. */
    silence (later: boolean) {
      silent = later
      for (const socket of subscribers) socket.unpipe().resume()
    },
    restore () {
      silent = false
    }
  }
}

/** @returns the last status that the backend received for a room */
export const lastStatus = (backend: Backend, roomId: string): Status | undefined => backend.statuses.filter((item) => item.roomId === roomId).at(-1)?.status
