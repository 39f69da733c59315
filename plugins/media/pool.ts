import { createWorker } from 'mediasoup'
import type { types } from 'mediasoup'
import type { FastifyBaseLogger } from 'fastify'
import { StartError } from '../../config/error.ts'
import { Overloaded, unavailable } from '../errors/codes.ts'
import { withTimeout } from '../errors/timeout.ts'
import type { Metrics } from '../metrics.ts'
import { candidatesFor, socketsFor } from './addresses.ts'

/** A media worker process and its port. */
export interface MediaWorker {
  /** Position in the pool. A worker that replaces a dead worker has the same position. */
  readonly index: number
  readonly worker: types.Worker
  readonly server: types.WebRtcServer
  readonly port: number
  /** Adds the ICE candidates that mediasoup leaves out; see {@link candidatesFor}. */
  readonly candidates: (candidates: readonly types.IceCandidate[]) => types.IceCandidate[]
  routers: number
  /** Number of clients' receiving transports on the worker, plus the number of consumers on these transports. */
  listeners: number
}

export interface PoolOptions {
  /** Maximum number of workers. */
  size: number
  /** True if {@link WorkerPool.start} starts all workers. If false, each worker starts when it is needed. */
  warm: boolean
  listenIp: string
  /** The addresses announced to clients. If the list is empty, the listen address is announced. */
  announced: readonly string[]
  minPort: number
  maxPort: number
  maxRouters: number
}

export interface WorkerPool {
  /** False while no worker is running and at least one dead worker is being replaced. */
  readonly ready: boolean
  /**
   * Starts all workers if {@link PoolOptions.warm} is true.
   *
   * @throws if a worker fails to start
   */
  start (): Promise<void>
  /** Running workers, by index. */
  alive (): MediaWorker[]
  /**
   * Reserves a slot for a router on the worker with the fewest routers. Starts an unused worker before it puts a second
   * router on a running worker. If all workers are being replaced, waits for one of them.
   *
   * @throws OVERLOADED if every worker has its maximum number of routers
   * @throws UNAVAILABLE if no worker is running after five seconds
   */
  take (): Promise<MediaWorker>
  /**
   * Chooses the worker for a room's next listener, and adds the listener to the worker's count. Among the workers that
   * the room uses, prefers the one with the fewest listeners. Chooses a worker that is new to the room only if that
   * worker has at least {@link spreadAfter} fewer listeners.
   *
   * @param used the workers that already have a router for the room
   * @throws OVERLOADED if no worker can be used
   */
  spread (used: readonly MediaWorker[]): Promise<MediaWorker>
  /**
   * Adds one listener to the worker's count.
   *
   * @returns the same worker
   */
  place (worker: MediaWorker): MediaWorker
  /**
   * Reserves a slot on the given worker for an additional router of a room.
   *
   * @throws OVERLOADED if the worker has its maximum number of routers
   */
  reserve (worker: MediaWorker): void
  /** Releases the slot of a closed router. */
  release (worker: MediaWorker): void
  close (): void
}

/**
 * A room gets a router on another worker only if that worker has at least this many fewer listeners. Each voice that is
 * piped to another worker costs as much CPU as a listener, so a small room stays on one worker.
 */
export const spreadAfter = 16
/** How long to wait for a worker to start, in milliseconds. A start usually takes well under a second. */
const timeoutMs = 5000
const respawnDelayMs = 100
const maxRespawnDelayMs = 5000

/**
 * Keeps a worker alive when the process receives SIGINT or SIGTERM. By default, mediasoup closes the worker
 * immediately, but clients still need the worker until they have moved to another server.
 */
function ignoreSignals (worker: types.Worker): void {
  const { onSignal } = worker as unknown as { onSignal: NodeJS.SignalsListener }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, onSignal)
}

/**
 * A pool of media workers. Each worker has one WebRtcServer, which uses one port for UDP and TCP. If a worker dies, a
 * new one replaces it, on the same port if possible.
 *
 * @param onDied called with a dead worker before its replacement starts
 */
export function createPool (options: PoolOptions, metrics: Metrics, log: FastifyBaseLogger, onDied: (worker: MediaWorker) => void): WorkerPool {
  const workers = new Map<number, MediaWorker>()
  /** Workers that have never been started. */
  const unused = new Set(Array.from({ length: options.size }, (_, index) => index))
  /** Worker starts that are in progress. */
  const starting = new Set<Promise<void>>()
  const replacing = new Set<number>()
  const waiting = new Set<() => void>()
  let closed = false

  const active = metrics.gauge('flylive_mediasoup_workers_active', 'Running media workers')
  const deaths = metrics.counter('flylive_mediasoup_worker_deaths_total', 'Media workers that died and were replaced')
  const routers = metrics.gauge('flylive_mediasoup_routers_per_worker', 'Routers per media worker. A room with audio has one router on each worker that it uses', ['worker'])
  for (const index of unused) routers.set({ worker: index }, 0)

  function count (worker: MediaWorker, change: 1 | -1): void {
    worker.routers += change
    if (workers.get(worker.index) === worker) routers.set({ worker: worker.index }, worker.routers)
  }

  async function spawn (index: number): Promise<void> {
    unused.delete(index)
    const worker = await createWorker({ logLevel: 'warn' })
    ignoreSignals(worker)
    let started: MediaWorker
    try {
      const { server, port } = await listen(worker, index)
      started = { index, worker, server, port, routers: 0, listeners: 0, candidates: (found) => candidatesFor(found, options.listenIp, options.announced) }
    } catch (error) {
      worker.close()
      throw error
    }
    if (closed) return worker.close()
    workers.set(index, started)
    replacing.delete(index)
    active.set(workers.size)
    worker.once('died', (err) => {
      workers.delete(index)
      replacing.add(index)
      active.set(workers.size)
      routers.set({ worker: index }, 0)
      if (closed) return
      deaths.inc()
      log.error({ err, worker: index, workerPid: worker.pid }, 'media worker died, restarting')
      onDied(started)
      respawn(index, 0)
    })
    log.info({ worker: index, workerPid: worker.pid, port: started.port }, 'media worker started')
    wake()
  }

  function wake (): void {
    for (const resolve of waiting) resolve()
    waiting.clear()
  }

  /**
   * Listens on `minPort` plus the worker's index. While the port is in use, tries the port that is higher by the number
   * of workers.
   */
  async function listen (worker: types.Worker, index: number) {
    const { listenIp, announced, minPort, maxPort, size } = options
    const sockets = socketsFor(listenIp, announced)
    let cause: unknown
    for (let port = minPort + index; port <= maxPort; port += size) {
      try {
        const server = await worker.createWebRtcServer({
          listenInfos: sockets.flatMap((socket) => [{ protocol: 'udp', port, ...socket }, { protocol: 'tcp', port, ...socket }])
        })
        return { server, port }
      } catch (error) {
        if (/not available/i.test(String(error))) throw new StartError(`MEDIASOUP_LISTEN_IP: ${listenIp} is not an address of this machine. 0.0.0.0 listens on all of its addresses.`, { cause: error })
        if (!/in use/i.test(String(error))) throw error
        cause = error
      }
    }
    throw new StartError(`Media worker ${index} found no free port from ${minPort} to ${maxPort}. Stop the program that uses these ports, or change MEDIASOUP_RTC_MIN_PORT or MEDIASOUP_RTC_MAX_PORT.`, { cause })
  }

  /** Starts a worker. If the start fails, retries until the worker runs. */
  async function respawn (index: number, attempt: number): Promise<void> {
    if (closed) return
    try {
      await spawn(index)
    } catch (err) {
      replacing.add(index)
      log.error({ err, worker: index }, 'failed to start a media worker')
      setTimeout(() => { respawn(index, attempt + 1) }, Math.min(respawnDelayMs * 2 ** attempt, maxRespawnDelayMs)).unref()
    }
  }

  /** Starts a worker that has never been started. */
  function startUnused (index: number): void {
    const started = respawn(index, 0).finally(() => starting.delete(started))
    starting.add(started)
  }

  function place (worker: MediaWorker): MediaWorker {
    worker.listeners++
    return worker
  }

  function leastUsed (): MediaWorker | undefined {
    let best: MediaWorker | undefined
    for (const candidate of workers.values()) {
      if (candidate.routers < (best?.routers ?? options.maxRouters)) best = candidate
    }
    return best
  }

  async function someWorker (): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    waiting.add(resolve)
    await withTimeout(promise, timeoutMs, () => { throw unavailable('No media worker is running') }).finally(() => waiting.delete(resolve))
  }

  return {
    get ready () {
      return workers.size > 0 || replacing.size === 0
    },
    async start () {
      if (options.warm) await Promise.all([...unused].map(spawn))
    },
    alive: () => [...workers.values()].sort((a, b) => a.index - b.index),
    async take () {
      const [index] = unused
      if (index !== undefined && leastUsed()?.routers !== 0) startUnused(index)
      await Promise.all(starting)
      if (workers.size === 0 && !closed) await someWorker()
      if (closed) throw unavailable('The server is shutting down')
      const worker = leastUsed()
      if (!worker) throw new Overloaded()
      count(worker, 1)
      return worker
    },
    place,
    async spread (used) {
      const fewest = (found: Iterable<MediaWorker>) => [...found].sort((a, b) => a.listeners - b.listeners)[0]
      const known = fewest(used)
      const limit = (known?.listeners ?? Infinity) - spreadAfter
      const [index] = unused
      if (index !== undefined && limit >= 0) startUnused(index)
      if (limit >= 0 && starting.size > 0) await Promise.all(starting)
      const other = fewest(workers.values().filter((worker) => !used.includes(worker) && worker.routers < options.maxRouters))
      const chosen = other && other.listeners <= limit ? other : known
      if (!chosen) throw new Overloaded()
      return place(chosen)
    },
    reserve (worker) {
      if (worker.routers >= options.maxRouters) throw new Overloaded()
      count(worker, 1)
    },
    release: (worker) => count(worker, -1),
    close () {
      closed = true
      for (const { worker } of workers.values()) worker.close()
      workers.clear()
      wake()
    }
  }
}
