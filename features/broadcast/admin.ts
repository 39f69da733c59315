import { isCoded, z } from 'flylive-audio-server/feature'
import type { FeatureInstance } from 'flylive-audio-server/feature'
import type { Air } from './stations.ts'

const report = z.object({
  roomId: z.string(),
  nodeId: z.string().describe('The server that packages the room'),
  startedAt: z.int().describe('Epoch milliseconds'),
  listeners: z.int().describe('Estimated number of players whose playlist requests reach the servers. Players behind a cache are not counted'),
  waitingRequests: z.int().describe('Number of HLS requests on the packaging server that are waiting for the next part'),
  delayMs: z.int().nullable().describe('Time from the end of the latest audio until the audio was in the playlist; null before the first part'),
  restarts: z.int().describe('Number of restarts of the packager after a failure'),
  isEncrypted: z.boolean()
})
type Report = z.input<typeof report>

declare module 'flylive-audio-server/feature' {
  interface ClusterRequests {
    /** Returns the broadcasts that the queried server packages. */
    'broadcast:report': { data: Record<string, never>, reply: Report[] }
  }
}

const timeoutMs = 2000

/** @param packagers returns the ids of the servers that package at least one room */
export function adminRoutes (app: FeatureInstance, air: Air, packagers: () => Promise<string[]>): void {
  const { cluster, log, nodeId } = app
  const own = (): Report[] => [...air.stations.values()].map((station) => ({
    roomId: station.roomId,
    nodeId,
    startedAt: station.startedAt,
    listeners: station.listeners,
    waitingRequests: station.window.waiting,
    delayMs: station.delayMs === undefined ? null : Math.round(station.delayMs),
    restarts: station.restarts,
    isEncrypted: station.window.options.key !== undefined
  }))
  cluster.answer('broadcast:report', own)

  async function reportOf (node: string): Promise<Report[]> {
    if (node === nodeId) return own()
    try {
      return await cluster.ask(node, 'broadcast:report', {}, timeoutMs)
    } catch (err) {
      if (!isCoded(err)) throw err
      log.debug({ err, node }, 'a server did not report its broadcasts')
      return []
    }
  }

  app.get('/admin/broadcasts', {
    schema: { summary: 'Lists all rooms that are on air, across all servers', response: { 200: z.object({ broadcasts: z.array(report) }) } }
  }, async () => {
    const reports = await Promise.all((await packagers()).map(reportOf))
    return { broadcasts: reports.flat().sort((a, b) => a.roomId < b.roomId ? -1 : 1) }
  })
}
