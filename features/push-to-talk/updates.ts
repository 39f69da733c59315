import { setTimeout as delay } from 'node:timers/promises'
import { isCoded, userId, userKeyOf, z } from 'flylive-audio-server/feature'
import type { FeatureInstance, Redis } from 'flylive-audio-server/feature'
import { channelsIn } from './membership.ts'
import type { Membership } from './membership.ts'

/** Redis channel where the backend publishes changes to users' channels. */
const updatesChannel = 'vp:membership_updates'

/** How long to wait before another attempt to store or apply an update, in milliseconds. */
export const retryMs = 1000

const update = z.object({ userId, channelIds: z.array(z.unknown()), action: z.literal('set_user_channels') })

/**
 * Applies the updates that the backend publishes when a user's channels change. All servers receive every update. While
 * the store is unavailable, the server keeps the latest update per user and retries.
 *
 * @param redis if undefined, the server receives no updates
 * @param changed called after an update is stored
 * @returns a function that ends the subscription
 */
export function subscribeToUpdates ({ clock, log, metrics }: Pick<FeatureInstance, 'clock' | 'log' | 'metrics'>, redis: Redis | undefined, membership: Membership, changed: (userKey: string) => void): () => void {
  const updates = metrics.counter('flylive_ptt_membership_updates_total', 'Membership updates from the backend, by result (applied, invalid, failed)', ['result'])
  for (const result of ['applied', 'invalid', 'failed']) updates.inc({ result }, 0)
  if (!redis) return () => {}
  const subscriber = redis.duplicate({
    autoResubscribe: false,
    lazyConnect: true,
    connectionName: `${redis.options.connectionName ?? 'flylive'}:push-to-talk`
  })

  const closing = new AbortController()
  /** The latest update that is not stored yet, by user key. */
  const latest = new Map<string, z.output<typeof update> & { at: number }>()

  async function apply (text: string): Promise<void> {
    let parsed
    try {
      parsed = update.safeParse(JSON.parse(text))
    } catch {}
    if (!parsed?.success) {
      log.warn('invalid membership update from the backend')
      updates.inc({ result: 'invalid' })
      return
    }
    const key = userKeyOf(parsed.data.userId)
    const isStoring = latest.has(key)
    latest.set(key, { ...parsed.data, at: clock.now() })
    // Store one update per user at a time, because concurrent writes would conflict.
    if (!isStoring) await storeLatest(key)
  }

  async function storeLatest (key: string): Promise<void> {
    let failed
    for (let next = latest.get(key); next && !closing.signal.aborted; next = latest.get(key)) {
      try {
        await membership.set(next.userId, channelsIn(next.channelIds), next.at, failed !== undefined)
        if (latest.get(key) === next) latest.delete(key)
        failed = undefined
        changed(key)
        updates.inc({ result: 'applied' })
      } catch (err) {
        if (failed !== next) {
          log.error({ err, userId: next.userId }, 'failed to apply a membership update from the backend')
          updates.inc({ result: 'failed' })
        }
        failed = next
        if (isCoded(err) && err.code === 'UNAVAILABLE') await delay(retryMs, undefined, { ref: false, signal: closing.signal }).catch(() => { /* The feature is closing. */ })
        else if (latest.get(key) === next) latest.delete(key)
      }
    }
  }

  subscriber.on('error', (err: Error) => log.debug({ err }, 'redis subscriber failed'))
  subscriber.on('message', (_channel: string, text: string) => { apply(text) })
  // Subscribe on each `ready` event, because ioredis reconnects after an outage but does not subscribe again.
  subscriber.on('ready', () => {
    subscriber.subscribe(updatesChannel).catch((err: unknown) => log.warn({ err, channel: updatesChannel }, 'not receiving membership updates from the backend'))
  })
  subscriber.connect().catch(() => { /* The `error` handler has logged the failure, and ioredis retries. */ })
  return () => {
    closing.abort()
    subscriber.disconnect()
  }
}
