import { setTimeout as delay } from 'node:timers/promises'
import { isCoded, userId, userKeyOf, z } from 'flylive-audio-server/feature'
import type { FeatureInstance, Logger, Redis } from 'flylive-audio-server/feature'
import { channelsIn } from './membership.ts'
import type { Membership } from './membership.ts'

/** Redis channel where the backend publishes changes to users' channels. */
const updatesChannel = 'vp:membership_updates'

/** How long to wait before another attempt to store or apply an update, in milliseconds. */
const retryMs = 1000

const update = z.object({ userId, channelIds: z.array(z.unknown()), action: z.literal('set_user_channels') })

/** The subscription to the backend's updates, and the updates in progress. Survives reloads of the feature. */
export interface UpdateQueue {
  /** Undefined if Redis is not configured. */
  readonly subscriber: Redis | undefined
  /** Handles an update. The running generation sets this function. */
  receive: (text: string) => void
  /** Applies a stored change to the user's open sessions. The running generation sets this function. */
  stored: (userKey: string) => void
  /** The latest update that is not stored yet, by user key. */
  readonly latest: Map<string, z.output<typeof update> & { at: number }>
  /** The keys of users with a stored change that is not applied to their open sessions yet. */
  readonly changed: Set<string>
}

export function createUpdateQueue (log: Logger, redis: Redis | undefined): UpdateQueue {
  const subscriber = redis?.duplicate({
    autoResubscribe: false,
    lazyConnect: true,
    connectionName: `${redis.options.connectionName ?? 'flylive'}:push-to-talk`
  })
  const queue: UpdateQueue = { subscriber, receive () {}, stored () {}, latest: new Map(), changed: new Set() }
  subscriber?.on('error', (err: Error) => log.debug({ err }, 'redis subscriber failed'))
  subscriber?.on('message', (_channel: string, text: string) => queue.receive(text))
  // Subscribe on each `ready` event, because ioredis reconnects after an outage but does not subscribe again.
  subscriber?.on('ready', () => {
    subscriber.subscribe(updatesChannel).catch((err: unknown) => log.warn({ err, channel: updatesChannel }, 'not receiving membership updates from the backend'))
  })
  return queue
}

export interface Updates {
  /**
   * Begins to receive updates, and continues the updates in progress. Called when this generation becomes the running
   * generation.
   */
  takeOver (): void
  /** Applies a stored change to the user's open sessions. Retries while the store is unavailable. */
  changed (userKey: string): Promise<void>
  /** Leaves the updates in progress to the next generation. */
  close (): void
}

/**
 * Applies the updates that the backend publishes when a user's channels change. All servers receive every update. While
 * the store is unavailable, the server keeps the latest update per user and retries.
 *
 * @param apply applies a stored change to the user's open sessions
 */
export function createUpdates ({ clock, log, metrics }: Pick<FeatureInstance, 'clock' | 'log' | 'metrics'>, queue: UpdateQueue, membership: Membership, apply: (userKey: string) => Promise<void>): Updates {
  const { subscriber, latest } = queue
  const updates = metrics.counter('flylive_ptt_membership_updates_total', 'Membership updates from the backend, by result (applied, invalid, failed)', ['result'])
  for (const result of ['applied', 'invalid', 'failed']) updates.inc({ result }, 0)
  const closing = new AbortController()
  /** True from the first failure caused by an unavailable store until all updates and changes are applied. */
  let isFailing = false
  const retryDelay = async () => await delay(retryMs, undefined, { ref: false, signal: closing.signal }).catch(() => { /* The feature is closing. */ })
  const isTemporary = (err: unknown) => isCoded(err) && err.code === 'UNAVAILABLE'

  async function receive (text: string): Promise<void> {
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

  /** Logs a failure. While the store is unavailable, only the first failure is logged as an error. */
  function failed (err: unknown, context: object, message: string): void {
    const isLogged = isFailing && isTemporary(err)
    log[isLogged ? 'debug' : 'error']({ err, ...context }, message)
    isFailing ||= isTemporary(err)
  }

  function succeeded (): void {
    if (!isFailing || latest.size > 0 || queue.changed.size > 0) return
    isFailing = false
    log.info('applied all membership updates that had failed')
  }

  /** @param isRetry whether an earlier generation may have stored the update */
  async function storeLatest (key: string, isRetry = false): Promise<void> {
    let last
    for (let next = latest.get(key); next && !closing.signal.aborted; next = latest.get(key)) {
      try {
        await membership.set(next.userId, channelsIn(next.channelIds), next.at, isRetry)
        if (latest.get(key) === next) latest.delete(key)
        isRetry = false
        // The feature may have been reloaded in the meantime.
        queue.stored(key)
        updates.inc({ result: 'applied' })
      } catch (err) {
        if (last !== next) updates.inc({ result: 'failed' })
        failed(err, { userId: next.userId }, 'failed to apply a membership update from the backend')
        last = next
        isRetry = true
        if (isTemporary(err)) await retryDelay()
        else if (latest.get(key) === next) latest.delete(key)
      }
    }
  }

  async function changed (userKey: string): Promise<void> {
    queue.changed.add(userKey)
    while (!closing.signal.aborted) {
      try {
        await apply(userKey)
        queue.changed.delete(userKey)
        succeeded()
        return
      } catch (err) {
        failed(err, { userKey }, "failed to apply a change to a user's channels")
        if (!isTemporary(err)) {
          queue.changed.delete(userKey)
          return
        }
        await retryDelay()
      }
    }
  }

  return {
    takeOver () {
      queue.receive = receive
      queue.stored = changed
      if (subscriber?.status === 'wait') subscriber.connect().catch(() => { /* The `error` handler has logged the failure, and ioredis retries. */ })
      for (const key of queue.changed) changed(key)
      for (const key of latest.keys()) storeLatest(key, true)
    },
    changed,
    close: () => closing.abort()
  }
}
