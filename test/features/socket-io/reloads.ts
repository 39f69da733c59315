import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import { build } from '../../support/build.ts'
import { until } from '../../support/retry.ts'
import { enter } from './support.ts'
import type { SocketIoClient } from './support.ts'

/**
 * Reloads the `socket-io` feature while Socket.IO clients send requests continuously.
 *
 * @param options number of clients, a quarter of which use polling, and number of reloads
 * @returns the number of acks; fails the test if a client was disconnected or an ack was lost
 */
export async function reloadUnderClients (t: Test, { clients, reloads }: { clients: number, reloads: number }): Promise<number> {
  const server = await build(t, { env: { FEATURES: 'auth,chat,socket-io', RATE_LIMIT_MESSAGES_PER_MINUTE: '10000', FEATURES_DRAIN_SECONDS: '1' } })
  const all: SocketIoClient[] = []
  for (let i = 0; i < clients; i++) {
    const client = await enter(t, server.url, i, { transports: i % 4 === 0 ? ['polling'] : ['websocket'] })
    t.match(await client.ask('room:join', { roomId: `r${i % 10}` }), { success: true })
    all.push(client)
  }
  const over = new AbortController()
  let acks = 0
  const asking = all.map(async ({ ask }, i) => {
    while (!over.signal.aborted) {
      const { success, data } = await ask('user:getRoom', { userId: i })
      if (!success || data?.roomId !== `r${i % 10}`) throw new Error(`client ${i}: ${JSON.stringify(data)}`)
      acks++
      await delay(clients * (1 + 2 * Math.random()))
    }
  })
  let slowestMs = 0
  for (let n = 1; n <= reloads; n++) {
    const begin = performance.now()
    const { status, body } = await server.admin('POST', '/admin/features/socket-io/reload')
    slowestMs = Math.max(slowestMs, performance.now() - begin)
    if (status !== 200 || body?.generation !== n + 1) throw new Error(`reload ${n}: ${status} ${JSON.stringify(body)}`)
  }
  over.abort()
  await Promise.all(asking)
  server.app.sockets.broadcast('x:end', {})
  for (const { events } of all) await until(() => events.some(({ type }) => type === 'x:end'))
  t.equal(all.filter(({ disconnects }) => disconnects.length > 0).length, 0, 'no client was disconnected')
  t.equal(all.filter(({ events }) => events.some(({ type }) => type === 'error')).length, 0)
  t.equal(server.app.sockets.size, clients)
  t.comment(`${reloads} reloads, ${clients} clients, ${acks} acks; the slowest reload took ${Math.round(slowestMs)} ms`)
  return acks
}
