import { join } from 'node:path'
import { userKeyOf } from 'flylive-audio-server/feature'
import type { FeatureInstance, LocalRoom, RoomRecord, Session, UserId, z } from 'flylive-audio-server/feature'
import { v7 } from 'uuid'
import { KeyReused } from './errors.ts'
import { createFlusher, processingFailed } from './flusher.ts'
import { contentOf, createRecentGifts, transactionIdOf } from './keys.ts'
import { repeatableMsOf } from './messages.ts'
import type { events, requests } from './messages.ts'
import type { Counts, Found, Gift, GiftTotal, RecordKind, Records } from './outbox.ts'
import { createRedisOutbox } from './outbox.redis.ts'
import { createSqliteOutbox } from './outbox.sqlite.ts'
import { processorOf } from './processor.ts'

type Data<T extends keyof typeof events> = z.input<(typeof events)[T]>

/** A gift that was accepted for this request or for an earlier request with the same key. */
export interface Accepted {
  gift: Gift
  /** Why the gift failed; undefined if the gift has not failed. */
  refused?: { code: number | string, reason: string } | undefined
}

export interface Gifts {
  /**
   * Stores a gift in the outbox. Once the gift is stored, the backend charges it or the sender receives gift:error,
   * even if this server crashes. If the sender has used the request's idempotency key before, returns the gift that was
   * accepted first with this key.
   *
   * @throws UNAVAILABLE if it is unknown whether the gift was stored; KEY_REUSED if the key
   *   belongs to a gift with different content
   */
  accept (session: Session, room: LocalRoom, request: z.output<typeof requests['gift:send']['request']>): Promise<Accepted>
  /**
   * Broadcasts an accepted gift to the room, unless this server has already broadcast it. If the gift has failed,
   * repeats gift:error to the sender instead, because the sender may have missed the first one.
   */
  announce (accepted: Accepted, sender: Session): void
  /**
   * Sends gift:prepare to all connections of the recipient. Sends nothing if the recipient is not in the room.
   *
   * @throws UNAVAILABLE
   */
  prepare (session: Session, room: LocalRoom, request: { giftId: number, recipientId: UserId }): Promise<void>
  counts (): Promise<Counts>
  /**
   * @returns the {@link maxTotals} recipients with the most gifts since the room was created, in descending order of
   *   quantity
   * @throws UNAVAILABLE
   */
  totals (room: RoomRecord): Promise<GiftTotal[]>
  /** Deletes the totals of a closed room. */
  forgetTotals (room: RoomRecord): Promise<void>
  /**
   * @param after the transactionId to start after; records are sorted by transactionId, oldest first
   * @returns at most `limit` records with a transactionId greater than `after`
   */
  list<K extends RecordKind> (kind: K, after: string, limit: number): Promise<Records[K][]>
  /**
   * Puts dead letters back into the queue.
   *
   * @param transactionIds default: all dead letters
   * @returns the number of replayed gifts
   */
  replay (transactionIds?: readonly string[]): Promise<number>
  /** Waits for the batches in flight, then closes the outbox. Queued gifts stay stored. */
  close (): Promise<void>
}

/** Maximum number of totals in the reply to room:join (docs/protocol.md, "Gifts"). */
const maxTotals = 50

/** Number of dead letters moved per step of a replay. */
const replayBatch = 500

/** @param keptLedger maximum number of gifts to keep in the ledger */
export function createGifts (app: Pick<FeatureInstance, 'clock' | 'config' | 'features' | 'keep' | 'log' | 'metrics' | 'redis' | 'rooms' | 'sockets' | 'store'>, keptLedger: number): Gifts {
  const { config, log, metrics, rooms, sockets, store } = app
  const outbox = app.redis ? createRedisOutbox(app.redis, { keptLedger }) : createSqliteOutbox(join(config.DATA_DIR, 'gifts.sqlite'), { now: app.clock.now, keptLedger })
  // The cache is kept across reloads, so that a retry after a reload does not announce a gift twice.
  const recentGifts = app.keep('recentGifts', createRecentGifts)

  function toUser (userId: UserId, type: string, data: object): void {
    sockets.toUser(userId, type, data).catch((err: unknown) => log.warn({ err, userId, type }, 'failed to send to a user'))
  }

  const flusher = createFlusher({
    outbox,
    processor: () => processorOf(app),
    onRejected: ({ transactionId, senderId }, code, reason) => toUser(senderId, 'gift:error', { transactionId, code, reason } satisfies Data<'gift:error'>),
    clock: app.clock,
    metrics,
    log
  })

  /**
   * @returns the user id with the type (number or string) that it has in the user's token; unchanged if the user is
   *   neither connected to this server nor in the room
   */
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
        timestamp: app.clock.now()
      }
      const { transactionId } = gift
      if (key !== undefined) {
        // Cache the content before storing the gift, because the gift may be stored even if this request fails with
        // UNAVAILABLE.
        const content = recentGifts.get(transactionId)?.content ?? contentOf(gift)
        if (content !== contentOf(gift)) throw new KeyReused()
        if (!recentGifts.has(transactionId)) recentGifts.set(transactionId, { content, shown: false })
      }
      const found = await outbox.add(gift, room.record.createdAt, key === undefined ? 0 : repeatableMsOf(key))
      if (!found) {
        flusher.added()
        return { gift }
      }
      if (contentOf(found.gift) !== contentOf(gift)) {
        recentGifts.set(transactionId, { content: contentOf(found.gift), shown: false })
        throw new KeyReused()
      }
      return { gift: found.gift, refused: refusalOf(found) }
    },
    announce ({ gift, refused }, sender) {
      const { transactionId, roomId, senderId, recipientId, giftId, quantity, timestamp } = gift
      if (refused) return sender.send('gift:error', { transactionId, ...refused } satisfies Data<'gift:error'>)
      const recent = recentGifts.get(transactionId)
      if (recent?.shown === true) return
      if (recent) recent.shown = true
      rooms.emit(roomId, 'gift:received', { transactionId, senderId, recipientId, giftId, quantity, timestamp } satisfies Omit<Data<'gift:received'>, 'roomId'>)
      rooms.touch(roomId)
    },
    async prepare (session, room, { giftId, recipientId }) {
      const userKey = userKeyOf(recipientId)
      const isHere = [...sockets.ofUser(userKey)].some(({ roomId }) => roomId === room.roomId)
      if (!isHere && (await store.getMembers(room.roomId, [userKey]))[0] === undefined) return
      toUser(recipientId, 'gift:prepare', { roomId: room.roomId, senderId: session.user.id, giftId } satisfies Data<'gift:prepare'>)
    },
    async totals ({ roomId, createdAt }) {
      const merged = new Map<string, GiftTotal>()
      for (const { recipientId, quantity } of await outbox.totals(roomId, createdAt, maxTotals * 2)) {
        const key = userKeyOf(recipientId)
        const known = merged.get(key)
        merged.set(key, { recipientId: known?.recipientId ?? recipientId, quantity: (known?.quantity ?? 0) + quantity })
      }
      return [...merged.values()].sort((a, b) => b.quantity - a.quantity).slice(0, maxTotals)
    },
    forgetTotals: ({ roomId, createdAt }) => outbox.forgetTotals(roomId, createdAt),
    counts: () => outbox.counts(),
    list: (kind, after, limit) => outbox.list(kind, after, limit),
    async replay (transactionIds) {
      let count = 0
      for (let after = '', i = 0; ;) {
        const page = transactionIds?.slice(i, i += replayBatch) ??
          (await outbox.list('deadLetters', after, replayBatch)).map(({ transactionId }) => transactionId)
        if (page.length === 0) break
        count += await outbox.replay(page)
        after = page.at(-1) as string
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
