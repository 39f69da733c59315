import type { Redis } from 'ioredis'
import { rateLimited, unavailable } from '../../errors/codes.ts'
import { RoomNotFound } from '../errors.ts'
import { sharedLog } from '../store.ts'
import type { StateStore } from '../store.ts'
import { documentsKey, lastEntryKey, logKey, logsKey, parseDocument, publishArgs, roomKey } from './layout.ts'

export function createRedisState (redis: Redis, recoveryMs: number): StateStore {
  return {
    async swapDocument ({ roomId, name, expected, state = '', publish, duringRestore = false }) {
      const answer = await redis.msabSwapDocument(roomKey(roomId), documentsKey(roomId), name, expected, state, ...publishArgs(publish), duringRestore ? 0 : recoveryMs)
      if (answer === null) throw new RoomNotFound(roomId)
      const [outcome, version = '', current] = answer
      if (outcome === 'RESTORING') throw unavailable(`Room ${roomId} is being restored`)
      return outcome === 'DONE' ? { swapped: true, version } : { swapped: false, version, state: current ?? undefined }
    },
    async readDocuments (roomIds, name) {
      const texts = await Promise.all(roomIds.map((roomId) => redis.hget(documentsKey(roomId), name)))
      return texts.map((text) => text === null ? undefined : parseDocument(text).state)
    },
    async appendLog (roomId, log, { entry, keep, now, publish, spacing }) {
      const keys = [roomKey(roomId), logsKey(roomId), logKey(roomId, log), documentsKey(roomId), lastEntryKey(roomId, log, spacing?.key ?? '')]
      const [receivers, waitMs] = await redis.msabAppendLog(...keys, log, entry, keep, now, ...publishArgs(publish), spacing?.document ?? '', spacing?.field ?? '')
      if (waitMs > 0) throw rateLimited(waitMs)
      return receivers
    },
    async removeFromLog (roomId, log, entry, publish) {
      const receivers = await redis.msabRemoveFromLog(logKey(roomId, log), entry, ...publishArgs(publish))
      return receivers === -1 ? undefined : receivers
    },
    readLog: (roomId, log = sharedLog, last = 0) => redis.lrange(logKey(roomId, log), -last, -1)
  }
}
