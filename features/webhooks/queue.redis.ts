import { randomUUID } from 'node:crypto'
import { redisScript } from 'flylive-audio-server/feature'
import type { Redis } from 'flylive-audio-server/feature'
import { failingClosed } from './queue.ts'
import type { DeadLetter, StorageOptions, WebhookStorage } from './queue.ts'
import * as scripts from './scripts.ts'

const prefix = 'msab:{webhooks}'

/** Splits a script's flat reply into rows. */
function rowsOf (reply: unknown, size: number): string[][] {
  const items = reply as (string | number)[]
  return Array.from({ length: items.length / size }, (_, i) => items.slice(i * size, (i + 1) * size).map(String))
}

const timeOf = (text: string) => text === '' ? undefined : Number(text)

/**
 * A webhook storage for servers that share one Redis. Each method needs one round trip.
 *
 * @param redis a client whose commands fail immediately while the client is disconnected
 */
export function createRedisStorage (redis: Redis, { now, queueLimit, deadLetterLimit }: StorageOptions): WebhookStorage {
  const run = Object.fromEntries(Object.entries(scripts).map(([name, lua]) => {
    const script = redisScript(redis, lua, 1)
    return [name, async (...args: (string | number)[]) => await script(prefix, ...args)]
  })) as Record<keyof typeof scripts, (...args: (string | number)[]) => Promise<unknown>>
  const clock = () => now?.() ?? ''
  const counted = (rows: readonly (readonly (string | number)[])[]) => [rows.length, ...rows.flat()]

  return {
    register: (targets) => failingClosed(async () => {
      if (targets.length > 0) await redis.hset(`${prefix}:targets`, ...targets.flatMap(({ id, shownUrl }) => [id, shownUrl]))
    }),
    readRoom: (roomId, names) => failingClosed(async () => {
      const key = `${prefix}:room:${roomId}`
      const found = names ? await redis.hmget(key, 'version', ...names) : undefined
      const all = names && found
        ? [['version', found[0]], ...names.map((name, i) => [name, found[i + 1]])]
        : Object.entries(await redis.hgetall(key))
      const fields = new Map(all.filter((entry): entry is [string, string] => typeof entry[1] === 'string'))
      const version = Number(fields.get('version') ?? 0)
      fields.delete('version')
      return { version, fields }
    }),
    commitRoom: ({ roomId, version, set, remove, ttlMs, events }, targets) => failingClosed(async () => {
      const reply = await run.commitRoom(
        clock(), roomId, version, ttlMs ?? '', queueLimit, deadLetterLimit, ...counted([...set]), ...counted([...remove].map((name) => [name])),
        ...counted(targets.map((target) => [target])), ...counted(events.map(({ id, queuedAt, body }) => [id, queuedAt, body]))
      ) as [number, number] | null
      return reply ? { moved: reply[0], deleted: reply[1] } : undefined
    }),
    listRooms: (after, limit) => failingClosed(async () => rowsOf(await run.listRooms(after, limit), 2).map(([roomId = '', room = '']) => ({ roomId, room }))),
    take: (target, limit, leaseMs) => failingClosed(async () => {
      const token = randomUUID()
      const [[pending, oldest, deadLetters], ...found] = await run.take(clock(), target, limit, leaseMs, token) as [[number, string, number], ...string[]]
      return {
        deliveries: rowsOf(found, 3).map(([roomId = '', tries, item = '']) => {
          const [id = '', queuedAt = ''] = item.split('\n', 2)
          return { roomId, event: { id, queuedAt: Number(queuedAt), body: item.slice(id.length + queuedAt.length + 2) }, tries: Number(tries), token }
        }),
        pending,
        oldestAt: timeOf(oldest),
        deadLetters
      }
    }),
    settle: (target, { roomId, token }, outcome) => failingClosed(async () => {
      const [delay, reason] = outcome.to === 'retry' ? [outcome.delayMs, outcome.reason ?? ''] : [0, outcome.to === 'dead' ? outcome.reason : '']
      const deleted = await run.settle(clock(), target, roomId, token, deadLetterLimit, outcome.to, delay, reason) as number | null
      return deleted === null ? undefined : { moved: 0, deleted }
    }),
    queues: () => failingClosed(async () => rowsOf(await run.queues(), 5)
      .map(([queue = '', shownUrl = '', pending, oldest = '', error = '']) => ({
        queue, shownUrl, pending: Number(pending), oldestAt: timeOf(oldest), lastError: error === '' ? undefined : JSON.parse(error) as { at: number, reason: string }
      }))
      .sort((a, b) => a.queue < b.queue ? -1 : 1)),
    deleteQueue: (target) => failingClosed(async () => await run.deleteQueue(target) as number),
    countDeadLetters: () => failingClosed(async () => await redis.zcard(`${prefix}:dead:ids`)),
    listDeadLetters: (after, limit) => failingClosed(async () => rowsOf(await run.listDead(after, limit), 2)
      .map(([id = '', letter = '']) => ({ id, ...JSON.parse(letter) as Omit<DeadLetter, 'id'> }))),
    retryDeadLetters: (ids) => failingClosed(async () => await run.removeDead(clock(), 1, ...ids) as number),
    deleteDeadLetters: (ids) => failingClosed(async () => await run.removeDead(clock(), 0, ...ids) as number),
    async close () {}
  }
}
