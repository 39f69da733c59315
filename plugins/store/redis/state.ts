import type { Redis } from 'ioredis'
import { unavailable } from '../../errors/codes.ts'
import { RoomNotFound } from '../errors.ts'
import { recoveryMs } from '../store.ts'
import type { StateStore } from '../store.ts'
import { parseDocument, publishArgs } from './commands.ts'
import { documentsKey, logKey, roomKey } from './keys.ts'

export function createRedisState (redis: Redis): StateStore {
  return {
    async swapDocument ({ roomId, name, expected, next, publish }) {
      const answer = await redis.msabSwapDocument(
        roomKey(roomId), documentsKey(roomId),
        name, expected, next?.version ?? '', next?.state ?? '', ...publishArgs(publish), recoveryMs
      )
      if (answer === null) throw new RoomNotFound(roomId)
      if (answer[0] === 'RESTORING') throw unavailable(`Room ${roomId} is being restored`)
      if (answer[0] === 'DONE') return { swapped: true }
      const [, createdAt, current, least] = answer as [string, string, string, string]
      return {
        swapped: false,
        createdAt: Number(createdAt),
        document: current === '' ? undefined : parseDocument(current),
        ...(least === '0' ? {} : { least: Number(least) })
      }
    },
    async readDocuments (roomIds, name) {
      const texts = await Promise.all(roomIds.map((roomId) => redis.hget(documentsKey(roomId), name)))
      return texts.map((text) => text === null ? undefined : parseDocument(text).state)
    },
    appendLog: (roomId, entry, keep, now, publish) =>
      redis.msabAppendLog(roomKey(roomId), logKey(roomId), entry, keep, now, ...publishArgs(publish)),
    readLog: (roomId) => redis.lrange(logKey(roomId), 0, -1)
  }
}
