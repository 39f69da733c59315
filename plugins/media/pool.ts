import { createWorker } from 'mediasoup'
import type { types } from 'mediasoup'
import type { FastifyBaseLogger } from 'fastify'
import { Overloaded, unavailable } from '../errors/codes.ts'
import type { Metrics } from '../metrics.ts'

/** One media worker process and its port. */
export interface MediaWorker {
  /** Position in the pool, kept by the replacement of a dead one. */
  readonly index: number
  readonly worker: types.Worker
  readonly server: types.WebRtcServer
  readonly port: number
  /** Routers on it. */
  routers: number
}

export interface PoolOptions {
  size: number
  listenIp: string
  announcedIp: string | undefined
  minPort: number
  maxPort: number
  maxRouters: number
}

export interface WorkerPool {
  /** Starts all workers; throws when one can't be. */
  start (): Promise<void>
  /** Workers that run now, by index. */
  alive (): MediaWorker[]
  /**
   * The worker with the fewest routers. While all are being replaced it waits.
   *
   * @throws OVERLOADED when every worker has as many routers as it may have
   * @throws UNAVAILABLE when none comes up within five seconds
   */
  take (): Promise<MediaWorker>
  close (): void
}

// How long a caller waits for a worker that is being replaced. A start takes
// well under a second.
const patienceMs = 5000
const respawnDelayMs = 100
const longestRespawnDelayMs = 5000

/**
 * A pool of media workers, each with one WebRtcServer, that is one UDP and one
 * TCP port. A worker that dies is replaced, on the same port.
 *
 * @param onDied told of a dead worker before its replacement is there
 */
export function createPool (options: PoolOptions, metrics: Metrics, log: FastifyBaseLogger, onDied: (worker: MediaWorker) => void): WorkerPool {
  const workers = new Map<number, MediaWorker>()
  const waiting = new Set<() => void>()
  let closed = false

  const active = metrics.gauge('flylive_mediasoup_workers_active', 'Media workers that run')
  const deaths = metrics.counter('flylive_mediasoup_worker_deaths_total', 'Media workers that died and were replaced')

  async function spawn (index: number): Promise<void> {
    const worker = await createWorker({ logLevel: 'warn' })
    let mine: MediaWorker
    try {
      const { server, port } = await listen(worker, index)
      mine = { index, worker, server, port, routers: 0 }
    } catch (error) {
      worker.close()
      throw error
    }
    if (closed) return worker.close()
    workers.set(index, mine)
    active.set(workers.size)
    worker.once('died', (err) => {
      workers.delete(index)
      active.set(workers.size)
      if (closed) return
      deaths.inc()
      log.error({ err, worker: index, workerPid: worker.pid }, 'a media worker died and is replaced')
      onDied(mine)
      respawn(index, 0)
    })
    log.info({ worker: index, workerPid: worker.pid, port: mine.port }, 'media worker')
    for (const resolve of waiting) resolve()
    waiting.clear()
  }

  /** A worker's own port is the first plus its index; a port that is taken is passed over by as many as there are workers. */
  async function listen (worker: types.Worker, index: number) {
    const { listenIp: ip, announcedIp, minPort, maxPort, size } = options
    const announced = announcedIp === undefined ? {} : { announcedAddress: announcedIp }
    let failure: unknown = new Error('MEDIASOUP_RTC_MIN_PORT–MEDIASOUP_RTC_MAX_PORT has fewer ports than there are workers')
    for (let port = minPort + index; port <= maxPort; port += size) {
      try {
        const server = await worker.createWebRtcServer({
          listenInfos: [{ protocol: 'udp', ip, port, ...announced }, { protocol: 'tcp', ip, port, ...announced }]
        })
        return { server, port }
      } catch (error) {
        failure = error
        if (!/in use/i.test(String(error))) break
      }
    }
    throw failure
  }

  async function respawn (index: number, attempt: number): Promise<void> {
    if (closed) return
    try {
      await spawn(index)
    } catch (err) {
      log.error({ err, worker: index }, 'a media worker could not be started')
      setTimeout(() => { respawn(index, attempt + 1) }, Math.min(respawnDelayMs * 2 ** attempt, longestRespawnDelayMs)).unref()
    }
  }

  return {
    async start () {
      await Promise.all(Array.from({ length: options.size }, (_, index) => spawn(index)))
    },
    alive: () => [...workers.values()].sort((a, b) => a.index - b.index),
    async take () {
      if (workers.size === 0) {
        const { promise, resolve, reject } = Promise.withResolvers<void>()
        waiting.add(resolve)
        const timer = setTimeout(() => {
          waiting.delete(resolve)
          reject(unavailable('No media worker is running'))
        }, patienceMs)
        await promise.finally(() => clearTimeout(timer))
      }
      let best: MediaWorker | undefined
      for (const candidate of workers.values()) {
        if (candidate.routers < (best?.routers ?? options.maxRouters)) best = candidate
      }
      if (!best) throw new Overloaded()
      best.routers++
      return best
    },
    close () {
      closed = true
      for (const { worker } of workers.values()) worker.close()
      workers.clear()
    }
  }
}
