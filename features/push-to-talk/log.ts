import { z } from 'flylive-audio-server/feature'
import type { FeatureInstance, Namespace, Redis } from 'flylive-audio-server/feature'
import type { Settings } from './config.ts'

/** A message that is stored for users who are offline. */
export interface LoggedMessage {
  /** Epoch milliseconds. */
  at: number
  fromKey: string
  messageId: string
  /** The frame that the recipients receive, in base64. */
  frame: string
}

/**
 * Keeps one log of messages for each user (`u:<key>`) and for each channel (`g:<key>`). Each log has a maximum length,
 * and each message expires.
 */
export interface MessageLog {
  /**
   * Resolves when the message is stored durably.
   *
   * @throws UNAVAILABLE, or a Redis error
   */
  append (target: string, message: LoggedMessage): Promise<void>
  /** @returns each target's unexpired messages, oldest first */
  read (targets: readonly string[]): Promise<LoggedMessage[][]>
}

const logged = z.object({ at: z.number(), fromKey: z.string(), messageId: z.string(), frame: z.string() })

const keyOf = (target: string) => `msab:push-to-talk:log:{${target}}`

/** @param settings contains the maximum length of a log and the lifetime of a message */
export function createMessageLog ({ clock, kv, redis }: Pick<FeatureInstance, 'clock' | 'kv' | 'redis'>, { offlineMessages, offlineSeconds }: Settings): MessageLog {
  const ttlMs = offlineSeconds * 1000
  const log = redis ? inRedis(redis, offlineMessages, ttlMs) : inNamespace(kv.namespace('push-to-talk:log'), offlineMessages, ttlMs)
  return {
    append: log.append,
    read: async (targets) => (await log.read(targets)).map((entries) => entries
      .map((text) => logged.parse(JSON.parse(text))).filter(({ at }) => at > clock.now() - ttlMs))
  }
}

interface Driver {
  append (target: string, message: LoggedMessage): Promise<void>
  read (targets: readonly string[]): Promise<string[][]>
}

function inRedis (redis: Redis, length: number, ttlMs: number): Driver {
  return {
    async append (target, message) {
      const key = keyOf(target)
      const results = await redis.multi().rpush(key, JSON.stringify(message)).ltrim(key, -length, -1).pexpire(key, ttlMs).exec()
      const failed = results?.find(([error]) => error !== null)?.[0]
      if (!results || failed) throw failed ?? new Error('The message was not stored')
    },
    read: async (targets) => await Promise.all(targets.map(async (target) => await redis.lrange(keyOf(target), 0, -1)))
  }
}

/** Without Redis, there is only one server, so it is enough to serialise the changes to a log in this process. */
function inNamespace (values: Namespace, length: number, ttlMs: number): Driver {
  const last = new Map<string, Promise<void>>()
  const entriesOf = async (target: string) => JSON.parse(await values.get(target) ?? '[]') as string[]
  return {
    async append (target, message) {
      const done = (last.get(target) ?? Promise.resolve()).catch(() => {}).then(async () =>
        await values.set(target, JSON.stringify([...await entriesOf(target), JSON.stringify(message)].slice(-length)), { ttlMs }))
      last.set(target, done)
      await done.finally(() => { if (last.get(target) === done) last.delete(target) })
    },
    read: async (targets) => await Promise.all(targets.map(entriesOf))
  }
}
