import type { TestServer } from './build.ts'

/**
 * Returns a function that closes the servers' subscriber connections. Send commands in the same turn of the event loop as
 * the call: Redis runs them before the servers reconnect, so the servers miss the messages that the commands publish.
 *
 * @param servers each with a distinct NODE_ID
 */
export async function deafen (...servers: readonly TestServer[]): Promise<() => Promise<unknown>> {
  const [first] = servers
  const names = servers.map((server) => `name=flylive:${server.app.config.NODE_ID} `)
  // Test files share a Redis, each with its own database.
  const database = ` db=${first?.app.redis.options.db ?? 0} `
  const clients = String(await first?.app.redis.call('CLIENT', 'LIST')).split('\n')
  const ids = clients
    .filter((line) => names.some((name) => line.includes(name)) && line.includes(database) && / sub=[1-9]/.test(line))
    .map((line) => /^id=(\d+)/.exec(line)?.[1] ?? '')
  if (ids.length !== servers.length) throw new Error(`${ids.length} subscribers of ${servers.length} servers`)
  return () => Promise.all(ids.map((id) => first?.app.redis.call('CLIENT', 'KILL', 'ID', id)))
}
