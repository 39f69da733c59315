import { Agent } from 'node:http'
import t from 'tap'
import type { Test } from 'tap'
import { enter, refusal } from '../features/socket-io/support.ts'
import { build, tokenFor } from '../support/build.ts'
import type { TestServer } from '../support/build.ts'
import { startNginx } from '../support/nginx.ts'
import { redisDatabase } from '../support/redis.ts'
import { until } from '../support/retry.ts'

// With the nginx configuration in docs/deployment.md, all polling requests of a Socket.IO client reach the same server.

const clients = 12

async function twoServers (t: Test): Promise<[TestServer, TestServer]> {
  const env = { FEATURES: 'auth,chat,socket-io', REDIS_URL: await redisDatabase() }
  return [await build(t, { env }), await build(t, { env })]
}
const portsOf = (servers: readonly TestServer[]) => servers.map(({ url }) => Number(new URL(url).port))
const sizes = (servers: readonly TestServer[]) => servers.map(({ app }) => app.sockets.size)

/** Returns options that make a client send its requests from its own loopback address. */
function optionsFrom (t: Test, number: number) {
  const agent = new Agent({ localAddress: `127.0.0.${number + 2}`, keepAlive: true })
  t.teardown(() => agent.destroy())
  return { manager: { agent: agent as never } }
}

t.test("a client that uses polling stays on one server, chosen by the client's address", async (t) => {
  const servers = await twoServers(t)
  const { url } = await startNginx(t, portsOf(servers))
  const all = await Promise.all(Array.from({ length: clients }, (_, i) => enter(t, url, i, { transports: ['polling'], ...optionsFrom(t, i) })))
  t.ok(sizes(servers).every((size) => size > 0), `both servers have clients: ${sizes(servers).join()}`)
  await Promise.all(all.map(async ({ ask }) => t.match(await ask('room:join', { roomId: 'r1' }), { success: true })))
  for (let round = 0; round < 5; round++) await Promise.all(all.map(async ({ ask }, i) => t.match(await ask('chat:message', { content: `${i}` }), { success: true })))
  for (const { events } of all) await until(() => events.filter(({ type }) => type === 'chat:message').length === 5 * clients)
  t.ok(all.every(({ disconnects, socket }) => disconnects.length === 0 && socket.io.engine.transport.name === 'polling'))
})

t.test("without the configuration, a client's requests reach different servers", async (t) => {
  const servers = await twoServers(t)
  const { url } = await startNginx(t, portsOf(servers), '', (config) => config.replace('hash $remote_addr consistent;', ''))
  t.match(await refusal(t, url, { token: tokenFor(1), transports: ['polling'] }), { message: /^xhr (poll|post) error$/ })
})
