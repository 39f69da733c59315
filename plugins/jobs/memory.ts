import type { JobStore } from './store.ts'

/**
 * A job is "held" while it runs. If a held job is rescheduled, it becomes due only after the current run is settled.
 */
interface Queue {
  due: Map<string, number>
  held: Map<string, number>
}

/** If a job is already scheduled, the earlier time applies. */
function schedule ({ due }: Queue, key: string, at: number): void {
  due.set(key, Math.min(due.get(key) ?? Infinity, at))
}

/** The job store of a single server, in memory. */
export function createMemoryJobStore (): JobStore {
  const queues = new Map<string, Queue>()

  function queueOf (name: string): Queue {
    const queue = queues.get(name) ?? { due: new Map(), held: new Map() }
    queues.set(name, queue)
    return queue
  }

  return {
    async schedule (name, key, at) {
      schedule(queueOf(name), key, at)
    },
    async takeDue (name, now, limit, until) {
      const queue = queueOf(name)
      const { due, held } = queue
      for (const [key, end] of held) {
        if (end > now) continue
        held.delete(key)
        schedule(queue, key, now)
      }
      const keys = [...due].filter(([key, at]) => at <= now && !held.has(key)).sort(([, a], [, b]) => a - b).slice(0, limit).map(([key]) => key)
      for (const key of keys) {
        due.delete(key)
        held.set(key, until)
      }
      return keys.map((key) => ({ key, token: until }))
    },
    async settle (name, { key, token }, retryAt) {
      const queue = queueOf(name)
      if (queue.held.get(key) !== token) return
      queue.held.delete(key)
      if (retryAt !== undefined) schedule(queue, key, retryAt)
    }
  }
}
