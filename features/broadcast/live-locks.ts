import { createError, isCoded } from 'flylive-audio-server/feature'
import type { FeatureInstance, Session } from 'flylive-audio-server/feature'

export const AlreadyLive = createError('ALREADY_LIVE', 'You are already sending audio over another connection', 409)

/** The lock of a user who sends audio. */
export interface LiveLock {
  session: Session
  roomId: string
  /** The value of the lock in the store. It identifies the connection. */
  value: string
  /** True once the producer for which the lock was taken is open. */
  isOpen?: boolean
}

/** Lock renewal interval, in milliseconds. */
const renewMs = 1000
/**
 * How long a lock is valid after its last renewal, in milliseconds. After this time, another connection of the user can
 * take the lock, on any server.
 */
const lockMs = 3000

/**
 * Allows each user to send audio over only one connection, across all servers.
 *
 * @param held the locks of the connections to this server, by user
 */
export function limitLiveConnections (app: FeatureInstance, held: Map<string, LiveLock>): void {
  const { hooks, kv, log, nodeId, sfu } = app
  const locks = kv.namespace('broadcast-live')
  const isLive = ({ session, roomId }: LiveLock) => session.roomId === roomId && sfu.producerHandles(roomId).some(({ owner }) => owner.sessionId === session.id)

  async function take (userKey: string, value: string): Promise<boolean> {
    const takeFree = async () => await locks.compareAndSet(userKey, undefined, value, { ttlMs: lockMs })
    // A lock that this connection has just released expires after 1 ms, possibly between the first two attempts.
    return await takeFree() || await locks.compareAndSet(userKey, value, value, { ttlMs: lockMs }) || await takeFree()
  }

  async function release (userKey: string, lock: LiveLock): Promise<void> {
    if (held.get(userKey) === lock) held.delete(userKey)
    await locks.compareAndSet(userKey, lock.value, lock.value, { ttlMs: 1 })
  }

  const logged = (work: Promise<void>) => work.catch((err: unknown) => { log[isCoded(err) ? 'debug' : 'error']({ err }, "failed to renew or release a user's lock for sending audio") })

  hooks.on('media:produce', async (roomId, session) => {
    const value = `${nodeId} ${session.id}`
    if (!await take(session.userKey, value)) throw new AlreadyLive()
    held.set(session.userKey, { session, roomId, value })
    return undefined
  })
  const lockOf = (sessionId: string | undefined) => held.entries().find(([, { session }]) => session.id === sessionId)
  hooks.on('media:producerOpened', (_roomId, _producer, { sessionId }) => {
    const [, lock] = lockOf(sessionId) ?? []
    if (lock) lock.isOpen = true
  })
  hooks.on('media:producerClosed', (_roomId, _producer, { sessionId }) => {
    const [userKey, lock] = lockOf(sessionId) ?? []
    // Keep a lock that was taken for a producer that is not open yet.
    if (userKey !== undefined && lock?.isOpen === true && !isLive(lock)) logged(release(userKey, lock))
  })
  hooks.on('room:leave', (_room, session) => {
    const lock = held.get(session.userKey)
    if (lock?.session === session) logged(release(session.userKey, lock))
  })

  /** The locks whose connections had no producer when the locks were last renewed. */
  let silent = new Set<LiveLock>()
  async function renew (userKey: string, lock: LiveLock): Promise<void> {
    if (silent.has(lock) && !isLive(lock)) return await release(userKey, lock)
    if (await take(userKey, lock.value) || held.get(userKey) !== lock) return
    held.delete(userKey)
    log.info({ userId: lock.session.user.id }, "closing a user's producer: the user is sending audio over a different connection")
    sfu.closeProducer(lock.session)
  }
  const timer = setInterval(() => {
    for (const [userKey, lock] of held) logged(renew(userKey, lock))
    silent = new Set(held.values().filter((lock) => !isLive(lock)))
  }, renewMs).unref()
  app.addHook('onClose', async () => clearInterval(timer))
}
