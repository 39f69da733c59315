import type { Test } from 'tap'
import { build } from '../../support/build.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { enter } from './support.ts'

/**
 * Socket.IO and native clients in one room, on two servers, send messages at the same time. All clients must receive
 * the messages in the same order.
 */
export async function sendFromEverywhere (t: Test, messages: number): Promise<void> {
  const env = { FEATURES: 'auth,chat,seats,socket-io', RATE_LIMIT_MESSAGES_PER_MINUTE: '10000', WS_MESSAGES_BURST: '10000', WS_MESSAGES_PER_SECOND: '10000', REDIS_URL: await redisDatabase() }
  const servers = [await build(t, { env }), await build(t, { env })]
  const all = await Promise.all(servers.flatMap(({ url, connect }, i) => [
    (async () => {
      const client = await connect(`native-${i}`, { face: 'native' })
      return { events: client.events, ask: async (type: string, data: unknown) => (await client.request(type, data)).ok }
    })(),
    ...(['websocket', 'polling'] as const).map(async (transport) => {
      const client = await enter(t, url, `${transport}-${i}`, { transports: [transport] })
      return { events: client.events, ask: async (type: string, data: unknown) => (await client.ask(type, data)).success }
    })
  ]))
  for (const { ask } of all) t.ok(await ask('room:join', { roomId: 'r1' }))
  const each = Math.ceil(messages / all.length)
  await Promise.all(all.map(async ({ ask }, sender) => {
    for (let i = 0; i < each; i++) {
      // The server publishes seat changes differently from chat messages.
      const done = i % 10 === 9 ? ask(i % 20 === 9 ? 'seat:take' : 'seat:leave', { seatIndex: sender }) : ask('chat:message', { content: `${sender} ${i}` })
      if (!await done) throw new Error(`${sender} ${i} failed`)
    }
  }))
  const counted = new Set(['chat:message', 'seat:updated', 'seat:cleared'])
  const seen = ({ events }: { events: readonly { type: string, data: unknown }[] }) => events.filter(({ type }) => counted.has(type)).map(({ type, data }) => `${type} ${JSON.stringify(data)}`)
  const expected = each * all.length
  for (const client of all) await until(() => seen(client).length === expected)
  const [first, ...others] = all.map(seen)
  t.equal(new Set(first).size >= expected * 0.9, true)
  for (const other of others) t.same(other, first)
  t.comment(`${expected} events, ${all.length} clients`)
}
