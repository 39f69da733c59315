import { join } from 'node:path'
import { userKeyOf } from 'flylive-audio-server/feature'
import type { FeatureInstance, LocalRoom, Session, UserId, z } from 'flylive-audio-server/feature'
import { v7 } from 'uuid'
import { KeyReused } from './errors.ts'
import { createFlusher, processingFailed } from './flusher.ts'
import { contentOf, createMemory, transactionIdOf } from './keys.ts'
import type { events, requests } from './messages.ts'
import type { Counts, Found, Gift, RecordKind, Records } from './outbox.ts'
import { createRedisOutbox } from './outbox.redis.ts'
import { createSqliteOutbox } from './outbox.sqlite.ts'
import { processorOf } from './processor.ts'

type Data<T extends keyof typeof events> = z.input<(typeof events)[T]>

/** A gift that was accepted, now or before. */
export interface Accepted {
  gift: Gift
  /** Why it will not be booked, where that is known. */
  refused?: { code: number | string, reason: string } | undefined
}

export interface Gifts {
  /**
   * Accepts a gift. It is in the outbox when this returns: from then on it is
   * booked by the backend, or refused and its sender told, whatever happens to this
   * server. One with the key of another that was accepted is that one.
   *
   * @throws UNAVAILABLE when it is not certain that it is stored: it may be; KEY_REUSED
   *   when the key is known to be that of a gift that is not the same
   */
  accept (session: Session, room: LocalRoom, request: z.output<typeof requests['gift:send']['request']>): Promise<Accepted>
  /**
   * Shows everybody in the room a gift that was accepted, unless it was shown
   * from here before. One that was refused is shown to nobody; its sender is told
   * again, having maybe not been there the first time.
   */
  announce (accepted: Accepted, sender: Session): void
  /** Tells the recipient, wherever they are, that a gift is being chosen. */
  prepare (session: Session, room: LocalRoom, request: { giftId: number, recipientId: UserId }): void
  counts (): Promise<Counts>
  /**
   * @param after a transactionId; records are in the order of theirs, which is that of time
   * @returns at most `limit` records after it
   */
  list<K extends RecordKind> (kind: K, after: string, limit: number): Promise<Records[K][]>
  /**
   * Puts dead letters back into the queue.
   *
   * @param transactionIds which; all when left out
   * @returns how many there were
   */
  replay (transactionIds?: readonly string[]): Promise<number>
  /** Waits for the batches that are on the way; what is queued stays where it is. */
  close (): Promise<void>
}

/** Dead letters that are replayed in one step. */
const replayBatch = 500

export function createGifts (app: Pick<FeatureInstance, 'config' | 'features' | 'keep' | 'log' | 'metrics' | 'redis' | 'rooms' | 'sockets' | 'store'>): Gifts {
  const { config, log, metrics, rooms, sockets, store } = app
  const outbox = app.redis ? createRedisOutbox(app.redis) : createSqliteOutbox(join(config.DATA_DIR, 'gifts.sqlite'))
  // What was shown is not shown again after a reload.
  const memory = app.keep('memory', createMemory)

  function toUser (userId: UserId, type: string, data: object): void {
    sockets.toUser(userId, type, data).catch((err: unknown) => log.warn({ err, userId, type }, 'a user could not be told'))
  }

  const flusher = createFlusher({
    outbox,
    processor: () => processorOf(app),
    timeoutMs: config.LARAVEL_API_TIMEOUT_MS,
    refused: ({ transactionId, senderId }, code, reason) => toUser(senderId, 'gift:error', { transactionId, code, reason } satisfies Data<'gift:error'>),
    metrics,
    log
  })

  /** The form of an id that the user's own token has, for users on this server and for members of the room on any. */
  async function wireForm (roomId: string, userId: UserId): Promise<UserId> {
    const [session] = sockets.ofUser(userKeyOf(userId))
    if (session) return session.user.id
    const [profile] = await store.getMembers(roomId, [userKeyOf(userId)])
    return profile?.userId ?? userId
  }

  return {
    async accept (session, room, { giftId, recipientId, quantity, key }) {
      const gift: Gift = {
        transactionId: key === undefined ? v7() : transactionIdOf(session.userKey, key),
        roomId: room.roomId,
        senderId: session.user.id,
        recipientId: await wireForm(room.roomId, recipientId),
        giftId,
        quantity,
        timestamp: Date.now()
      }
      const { transactionId } = gift
      if (key !== undefined) {
        // Before it is stored: what ends with UNAVAILABLE may count as well.
        const content = memory.get(transactionId)?.content ?? contentOf(gift)
        if (content !== contentOf(gift)) throw new KeyReused()
        if (!memory.has(transactionId)) memory.set(transactionId, { content, shown: false })
      }
      const found = await outbox.add(gift)
      if (!found) {
        flusher.added()
        return { gift }
      }
      if (contentOf(found.gift) !== contentOf(gift)) {
        memory.set(transactionId, { content: contentOf(found.gift), shown: false })
        throw new KeyReused()
      }
      return { gift: found.gift, refused: refusalOf(found) }
    },
    announce ({ gift, refused }, sender) {
      const { transactionId, roomId, senderId, recipientId, giftId, quantity, timestamp } = gift
      if (refused) return sender.send('gift:error', { transactionId, ...refused } satisfies Data<'gift:error'>)
      const remembered = memory.get(transactionId)
      if (remembered?.shown === true) return
      if (remembered) remembered.shown = true
      rooms.emit(roomId, 'gift:received', { transactionId, senderId, recipientId, giftId, quantity, timestamp } satisfies Omit<Data<'gift:received'>, 'roomId'>)
      rooms.touch(roomId)
    },
    prepare (session, room, { giftId, recipientId }) {
      toUser(recipientId, 'gift:prepare', { roomId: room.roomId, senderId: session.user.id, giftId } satisfies Data<'gift:prepare'>)
    },
    counts: () => outbox.counts(),
    list: (kind, after, limit) => outbox.list(kind, after, limit),
    async replay (transactionIds) {
      let count = 0
      for (let after = '', i = 0; ;) {
        const some = transactionIds?.slice(i, i += replayBatch) ??
          (await outbox.list('deadLetters', after, replayBatch)).map(({ transactionId }) => transactionId)
        if (some.length === 0) break
        count += await outbox.replay(some)
        after = some.at(-1) as string
      }
      flusher.wake()
      return count
    },
    async close () {
      await flusher.close()
      await outbox.close()
    }
  }
}

function refusalOf (found: Found): Accepted['refused'] {
  if (found.place === 'failed') return { code: found.gift.code, reason: found.gift.reason }
  return found.place === 'deadLetters' ? processingFailed : undefined
}
