import fp from 'fastify-plugin'

/**
 * What servers tell one another, by kind. The part that handles a kind
 * declares it here by module augmentation.
 */
export interface ClusterMessages {}

export type ClusterMessageKind = keyof ClusterMessages

export interface Cluster {
  /**
   * Handles what any server, this one included, sends of a kind.
   *
   * @returns a function that stops it; a feature's handlers stop with it
   */
  on<K extends ClusterMessageKind> (kind: K, handler: (data: ClusterMessages[K]) => void): () => void
  /**
   * Tells all servers.
   *
   * @returns true when it went to all, false when only to this one
   */
  send<K extends ClusterMessageKind> (kind: K, data: ClusterMessages[K]): Promise<boolean>
}

declare module 'fastify' {
  interface FastifyInstance {
    cluster: Cluster
  }
}

const channel = 'control'

/** Orders between servers: end a user's sockets, close a room. They are few. */
export default fp(async function cluster (app) {
  const handlers = new Map<string, Set<(data: never) => void>>()
  await app.bus.subscribe(channel, (message) => {
    const { kind, data } = JSON.parse(message) as { kind: string, data: never }
    for (const handler of handlers.get(kind) ?? []) handler(data)
  })
  app.decorate('cluster', {
    on (kind, handler) {
      const mine = handlers.get(kind) ?? new Set()
      handlers.set(kind, mine.add(handler))
      return () => { mine.delete(handler) }
    },
    send: (kind, data) => app.bus.publish(channel, JSON.stringify({ kind, data }))
  } satisfies Cluster)
}, { name: 'cluster', dependencies: ['bus'] })
