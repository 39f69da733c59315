import type { Test } from 'tap'
import { build } from '../../support/build.ts'
import type { StoreKind, TestServer } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'

/** Starts two servers that share one Redis. For stores without Redis, returns the same server twice. */
export async function pair (t: Test, kind: StoreKind, env: Record<string, string>, config: Record<string, unknown> = {}): Promise<[TestServer, TestServer]> {
  const options = { env: { FEATURES: 'auth,reactions', WS_MESSAGES_PER_SECOND: '10000', FEATURES_CONFIG: JSON.stringify({ reactions: config }), ...env } }
  const server = await build(t, options)
  return [server, kind === 'redis' ? await build(t, options) : server]
}

export const reactionsOf = (client: TestClient): unknown[] => client.events.filter(({ type }) => type === 'room:reaction').map(({ data }) => data)

/** Returns how often a client received each emoji, counted over `room:reaction` and `room:reactions` events. */
export function sumOf (client: TestClient): Record<string, number> {
  const sum: Record<string, number> = {}
  for (const { type, data } of client.events) {
    if (type === 'room:reaction') sum[String(data.emoji)] = (sum[String(data.emoji)] ?? 0) + 1
    if (type !== 'room:reactions') continue
    for (const [emoji, count] of Object.entries(data.counts as Record<string, number>)) sum[emoji] = (sum[emoji] ?? 0) + count
  }
  return sum
}

/** Records the times at which a client receives `room:reactions` events, in milliseconds. */
export function timesOf (client: TestClient): number[] {
  const times: number[] = []
  client.ws.on('message', (raw) => {
    if ((JSON.parse(String(raw)) as { type?: string }).type === 'room:reactions') times.push(performance.now())
  })
  return times
}
