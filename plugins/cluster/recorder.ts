import type { Cluster } from './messages.ts'

/**
 * Records the handlers of one generation of a feature for messages and requests of other servers. The cluster calls the
 * handlers only while the generation is in service, so that two generations never handle the same message.
 */
export interface ClusterRecorder extends Pick<Cluster, 'on' | 'answer'> {
  /** Registers the recorded handlers. Later handlers are registered at once. */
  install (): void
  /** Removes all handlers. Later handlers are ignored. */
  remove (): void
}

interface Recorded {
  register: () => () => void
  /** Removes the handler from the cluster; undefined if the handler is not registered. */
  off?: () => void
}

export function createClusterRecorder (cluster: Pick<Cluster, 'on' | 'answer'>): ClusterRecorder {
  const handlers = new Set<Recorded>()
  let state: 'recording' | 'installed' | 'removed' = 'recording'

  function add (register: Recorded['register']): () => void {
    if (state === 'removed') return () => {}
    const handler: Recorded = { register }
    handlers.add(handler)
    if (state === 'installed') handler.off = register()
    return () => {
      handlers.delete(handler)
      handler.off?.()
    }
  }

  return {
    on: (kind, handler) => add(() => cluster.on(kind, handler)),
    answer: (kind, handler) => add(() => cluster.answer(kind, handler)),
    install () {
      state = 'installed'
      for (const handler of handlers) handler.off = handler.register()
    },
    remove () {
      state = 'removed'
      for (const handler of handlers) handler.off?.()
      handlers.clear()
    }
  }
}
