import { userKeyOf, z } from 'flylive-audio-server/feature'
import type { FeatureInstance, UserId } from 'flylive-audio-server/feature'

/** The active speakers in all rooms, on all servers. */
export interface Speaking {
  /** @returns the active speakers of a room, at most a few seconds old */
  of (roomId: string): UserId[]
}

/** Interval between a server's reports of active speakers, in milliseconds. */
const intervalMs = 1000
/**
 * How long a server's report is valid, in milliseconds. A server that sends no report for this long is dead or has no
 * speakers.
 */
const maxAgeMs = 5000
/** Maximum size of a report, in bytes. A report omits the rooms that do not fit. */
const maxBytes = 262_144
const channel = 'lobby:speaking'

const report = z.object({ node: z.string(), rooms: z.record(z.string(), z.array(z.union([z.string(), z.number()]))) })

/**
 * Sends the active speakers of this server's rooms to all servers, and collects the other servers' reports. A server
 * sends one report per second, for all of its rooms. A server without speakers sends nothing.
 */
export async function shareSpeakers (app: Pick<FeatureInstance, 'addHook' | 'bus' | 'log' | 'nodeId' | 'rooms' | 'sfu'>): Promise<Speaking> {
  const { bus, log, nodeId, rooms, sfu } = app
  const byNode = new Map<string, { at: number, rooms: Map<string, readonly UserId[]> }>()
  let isSilent = true

  function receive (text: string): void {
    const { success, data } = report.safeParse(JSON.parse(text))
    if (success) byNode.set(data.node, { at: performance.now(), rooms: new Map(Object.entries(data.rooms)) })
    else log.debug('a server with a different version sent active speakers in an unknown format')
  }

  function send (): void {
    for (const [node, { at }] of byNode) if (performance.now() - at > maxAgeMs) byNode.delete(node)
    let bytes = 0
    const speaking = [...rooms.local()].map(({ roomId }) => [roomId, sfu.speakersOf(roomId)] as const)
      .filter(([roomId, users]) => {
        if (users.length === 0) return false
        const size = roomId.length + JSON.stringify(users).length
        if (bytes + size > maxBytes) return false
        bytes += size
        return true
      })
    // When the last speakers stop, the server sends one empty report.
    if (speaking.length === 0 && isSilent) return
    isSilent = speaking.length === 0
    bus.publish(channel, JSON.stringify({ node: nodeId, rooms: Object.fromEntries(speaking) } satisfies z.input<typeof report>))
  }

  await bus.subscribe(channel, receive)
  const timer = setInterval(send, intervalMs).unref()
  app.addHook('onClose', async () => {
    clearInterval(timer)
    await bus.unsubscribe(channel, receive)
  })

  return {
    of (roomId) {
      const users = byNode.values().filter(({ at }) => performance.now() - at <= maxAgeMs).flatMap((node) => node.rooms.get(roomId) ?? [])
      return [...new Map(users.map((userId) => [userKeyOf(userId), userId])).values()]
    }
  }
}
