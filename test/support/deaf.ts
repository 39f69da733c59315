import type { TestServer } from './build.ts'

/**
 * Closes the connection on which a server receives other servers' messages. The
 * server reconnects shortly afterwards. Commands sent to the same Redis client in the
 * same turn run right after it, so the server does not receive their messages.
 *
 * @param servers each with a NODE_ID of its own
 */
export async function deafen (...servers: readonly TestServer[]): Promise<() => Promise<unknown>> {
  const [first] = servers
  const names = servers.map((server) => `name=flylive:${server.app.config.NODE_ID} `)
  const clients = String(await first?.app.redis.call('CLIENT', 'LIST')).split('\n')
  const ids = clients
    .filter((line) => names.some((name) => line.includes(name)) && / sub=[1-9]/.test(line))
    .map((line) => /^id=(\d+)/.exec(line)?.[1] ?? '')
  if (ids.length !== servers.length) throw new Error(`${ids.length} subscribers of ${servers.length} servers`)
  return () => Promise.all(ids.map((id) => first?.app.redis.call('CLIENT', 'KILL', 'ID', id)))
}
