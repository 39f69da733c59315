import fp from 'fastify-plugin'
import { createPool } from './pool.ts'
import { createSfu } from './sfu.ts'
import type { RoomMediaInfo } from './sfu.ts'

export type { Sfu } from './sfu.ts'

declare module '../cluster/messages.ts' {
  interface ClusterRequests {
    /** Describes a room's media on the server that receives the request; null if there is none. */
    'media:describe': { data: { roomId: string }, reply: RoomMediaInfo | null }
  }
}

/** Audio: the media workers, and the media objects of rooms and sessions. */
export default fp(async function sfu (app, { warmWorkers }: { warmWorkers: boolean }) {
  const { config, hooks, metrics } = app
  const pool = createPool({
    size: config.MEDIASOUP_WORKERS,
    warm: warmWorkers,
    listenIp: config.MEDIASOUP_LISTEN_IP,
    announced: config.MEDIASOUP_ANNOUNCED_IP,
    minPort: config.MEDIASOUP_RTC_MIN_PORT,
    maxPort: config.MEDIASOUP_RTC_MAX_PORT,
    maxRouters: config.MAX_ROOMS_PER_WORKER
  }, metrics, app.log, (worker) => created.workerDied(worker))
  const created = createSfu(app, pool)
  await pool.start()
  if (config.MEDIASOUP_ANNOUNCED_IP.length > 0) app.log.info({ addresses: config.MEDIASOUP_ANNOUNCED_IP }, 'clients send audio to these addresses')
  app.decorate('sfu', created)

  app.cluster.answer('media:describe', ({ roomId }) => created.describe(roomId) ?? null)
  hooks.on('session:moved', (session) => created.hasMedia(session))
  hooks.on('room:leave', (_room, session) => created.release(session))
  hooks.on('room:released', (roomId) => created.roomReleased(roomId))

  app.addHook('onClose', async () => {
    await created.close()
    pool.close()
  })
}, { name: 'sfu', dependencies: ['clock', 'cluster', 'config', 'directory', 'metrics', 'sockets', 'hooks', 'store', 'rooms', 'timings'] })
