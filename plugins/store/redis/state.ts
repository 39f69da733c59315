import type { Redis } from 'ioredis'
import { unavailable } from '../../errors/codes.ts'
import { RoomNotFound } from '../errors.ts'
import { sharedLog } from '../store.ts'
import type { StateStore } from '../store.ts'
import { documentsKey, logKey, logsKey, parseDocument, publishArgs, roomKey } from './layout.ts'

export function createRedisState (redis: Redis, recoveryMs: number): StateStore {
  return {
    async swapDocument ({ roomId, name, expected, state = '', publish }) {
      const answer = await redis.msabSwapDocument(roomKey(roomId), documentsKey(roomId), name, expected, state, ...publishArgs(publish), recoveryMs)
      if (answer === null) throw new RoomNotFound(roomId)
      const [outcome, version = '', current] = answer
      if (outcome === 'RESTORING') throw unavailable(`Room ${roomId} is being restored`)
      return outcome === 'DONE' ? { swapped: true, version } : { swapped: false, version, state: current ?? undefined }
    },
    async readDocuments (roomIds, name) {
      const texts = await Promise.all(roomIds.map((roomId) => redis.hget(documentsKey(roomId), name)))
      return texts.map((text) => text === null ? undefined : parseDocument(text).state)
    },
    appendLog: (roomId, log, { entry, keep, now, publish }) =>
      redis.msabAppendLog(roomKey(roomId), logsKey(roomId), logKey(roomId, log), log, entry, keep, now, ...publishArgs(publish)),
    readLog: (roomId, log = sharedLog) => redis.lrange(logKey(roomId, log), 0, -1)
  }
}
