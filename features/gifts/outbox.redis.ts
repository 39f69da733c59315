import { randomUUID } from 'node:crypto'
import { redisScript } from 'flylive-audio-server/feature'
import type { Redis, UserId } from 'flylive-audio-server/feature'
import { detailsOf, failingClosed, maxFailed, maxLedger, maxTrimmed, totalsTtlMs } from './outbox.ts'
import type { Found, Gift, Outbox, OutboxOptions, Outcome, RecordKind, Records } from './outbox.ts'
import * as scripts from './scripts.ts'

const prefix = 'msab:{gifts}'
const [due, items, leases] = [`${prefix}:due`, `${prefix}:items`, `${prefix}:leases`]
const recordKeys: Record<RecordKind, [records: string, ids: string]> = {
  ledger: [`${prefix}:ledger`, `${prefix}:ledger:ids`],
  failed: [`${prefix}:failed`, `${prefix}:failed:ids`],
  deadLetters: [`${prefix}:dead`, `${prefix}:dead:ids`]
}
/** Maps each kind of record to the index of its first key in the KEYS array of the `settle` script. */
const targets: Record<RecordKind, number> = { ledger: 4, failed: 6, deadLetters: 8 }
const totalsKey = (roomId: string, roomCreatedAt: number) => `${prefix}:totals:${roomCreatedAt} ${roomId}`
const countedKey = (transactionId: string) => `${prefix}:counted:${transactionId}`
/** Maps the key index that the `add` script returns to the place where the gift is stored. */
const places: Record<number, Found['place']> = { 2: 'queue', 3: 'ledger', 4: 'failed', 5: 'deadLetters' }

const afterFirstLine = (value: string) => value.slice(value.indexOf('\n') + 1)

function recordOf (value: string): object {
  return { ...JSON.parse(afterFirstLine(value)) as Gift, ...JSON.parse(value.slice(0, value.indexOf('\n'))) as object }
}

/**
 * An outbox for servers that share one Redis. Each method takes one round trip. A gift survives a crash only if Redis
 * persists it; docs/deployment.md lists the required Redis settings.
 *
 * @param redis a client whose commands fail immediately while it is disconnected
 * @param now returns the current time in epoch milliseconds, to set and compare due times; default: Redis's clock
 * @param keptLedger maximum number of gifts to keep in the ledger; if there are more, the gifts with the lowest ids are
 *   deleted
 * @param keptFailed maximum number of failed gifts to keep; if there are more, the gifts with the lowest ids are
 *   deleted
 */
export function createRedisOutbox (redis: Redis, { now, keptLedger = maxLedger, keptFailed = maxFailed }: OutboxOptions = {}): Outbox {
  const run = {
    add: redisScript(redis, scripts.add, 7),
    take: redisScript(redis, scripts.take, 4),
    settle: redisScript(redis, scripts.settle, 9),
    list: redisScript(redis, scripts.list, 2),
    replay: redisScript(redis, scripts.replay, 4)
  }
  const clock = () => now?.() ?? ''

  return {
    add: (gift, roomCreatedAt, repeatableMs = 0) => failingClosed(async () => {
      const [ledger, failed, dead] = [recordKeys.ledger[0], recordKeys.failed[0], recordKeys.deadLetters[0]]
      const found = await run.add(
        due, items, ledger, failed, dead, totalsKey(gift.roomId, roomCreatedAt ?? 0), countedKey(gift.transactionId), clock(), gift.transactionId,
        JSON.stringify(gift), roomCreatedAt === undefined ? '' : JSON.stringify(gift.recipientId), gift.quantity, totalsTtlMs, Math.ceil(repeatableMs)
      ) as [number, string] | null
      if (!found) return undefined
      const [place, value] = found
      // For a queued gift, the first line of the value is the number of failed attempts, which recordOf ignores.
      return { place: places[place], gift: recordOf(value) } as Found
    }),
    totals: (roomId, roomCreatedAt, limit) => failingClosed(async () => {
      const found = await redis.zrevrange(totalsKey(roomId, roomCreatedAt), 0, limit - 1, 'WITHSCORES')
      return found.flatMap((recipient, i) => i % 2 === 0 ? [{ recipientId: JSON.parse(recipient) as UserId, quantity: Number(found[i + 1]) }] : [])
    }),
    forgetTotals: (roomId, roomCreatedAt) => failingClosed(async () => {
      await redis.del(totalsKey(roomId, roomCreatedAt))
    }),
    take: (sizes, leaseMs) => failingClosed(async () => {
      const token = randomUUID()
      const [queued, deadLetters, tries, more, values] = await run.take(
        due, items, leases, recordKeys.deadLetters[1], clock(), leaseMs, token, Math.max(...sizes), ...sizes
      ) as [number, number, number, number, string[]]
      return { token, gifts: values.map((value) => JSON.parse(afterFirstLine(value)) as Gift), tries, more: more === 1, queued, deadLetters }
    }),
    settle: (token, outcomes) => failingClosed(async () => {
      const args = [...outcomes].flatMap(([id, outcome]) => [id, ...argumentsOf(outcome)])
      return await run.settle(due, items, leases, ...recordKeys.ledger, ...recordKeys.failed, ...recordKeys.deadLetters, clock(), token, keptLedger, keptFailed, maxTrimmed, ...args) as string[]
    }),
    counts: () => failingClosed(async () => {
      const [queued, ledger, failed, deadLetters] = await Promise.all([
        redis.zcard(due), ...(['ledger', 'failed', 'deadLetters'] as const).map((kind) => redis.zcard(recordKeys[kind][1]))
      ]) as [number, number, number, number]
      return { queued, ledger, failed, deadLetters }
    }),
    list: <K extends RecordKind>(kind: K, after: string, limit: number) => failingClosed(async () => {
      const values = await run.list(...recordKeys[kind], after, limit) as string[]
      return values.map(recordOf) as Records[K][]
    }),
    replay: (transactionIds) => failingClosed(async () => await run.replay(due, items, ...recordKeys.deadLetters, clock(), ...transactionIds) as number),
    async close () {}
  }
}

function argumentsOf (outcome: Outcome): [target: string | number, a: string | number, b: string | number] {
  switch (outcome.to) {
    case 'processed': return ['processed', '', '']
    case 'queue': return ['queue', outcome.delayMs, outcome.counted ? 1 : 0]
    default: return [targets[outcome.to], JSON.stringify(detailsOf(outcome)), outcome.to === 'deadLetters' ? 'tries' : '']
  }
}
