import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { v7 } from 'uuid'
import type { z } from 'zod'
import type { LocalRoom } from '../../plugins/rooms/local-room.ts'
import type { Session } from '../../plugins/sockets/session.ts'
import { userKeyOf } from '../../plugins/sockets/user.ts'
import type { UserId } from '../../plugins/sockets/user.ts'
import { createFlusher } from './flusher.ts'
import type { events } from './messages.ts'
import type { Counts, Gift, RecordKind, Records } from './outbox.ts'
import { createRedisOutbox } from './outbox.redis.ts'
import { createSqliteOutbox } from './outbox.sqlite.ts'
import { processorOf } from './processor.ts'

type Data<T extends keyof typeof events> = z.input<(typeof events)[T]>

export interface Gifts {
  /**
   * Accepts a gift. It is in the outbox when this returns: from then on it is
   * booked by the backend, or refused and its sender told, whatever happens to this
   * server.
   *
   * @throws UNAVAILABLE when it could not be stored for certain
   */
  accept (session: Session, room: LocalRoom, request: { giftId: number, recipientId: UserId, quantity: number }): Promise<Gift>
  /** Shows everybody in the room a gift that was accepted. */
  announce (gift: Gift): void
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

export function createGifts (app: FastifyInstance): Gifts {
  const { config, log, metrics, rooms, sockets } = app
  const outbox = app.hasDecorator('redis') ? createRedisOutbox(app.redis) : createSqliteOutbox(join(config.DATA_DIR, 'gifts.sqlite'))

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

  /** The form of an id that the user's own token has, where that is known here. */
  function wireForm (userId: UserId): UserId {
    const [session] = sockets.ofUser(userKeyOf(userId))
    return session?.user.id ?? userId
  }

  return {
    async accept (session, room, { giftId, recipientId, quantity }) {
      const gift: Gift = {
        transactionId: v7(),
        roomId: room.roomId,
        senderId: session.user.id,
        recipientId: wireForm(recipientId),
        giftId,
        quantity,
        timestamp: Date.now()
      }
      await outbox.add(gift)
      flusher.added()
      return gift
    },
    announce ({ roomId, ...gift }) {
      rooms.emit(roomId, 'gift:received', gift satisfies Omit<Data<'gift:received'>, 'roomId'>)
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
