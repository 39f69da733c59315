import { randomUUID } from 'node:crypto'
import { hasOwner, isCoded } from 'flylive-audio-server/feature'
import type { FeatureInstance, KeyValue, RoomStore } from 'flylive-audio-server/feature'
import { LRUCache } from 'lru-cache'
import type { BackendClient } from './client.ts'
import { isRejection } from './rejections.ts'
import { anyResponse } from './messages.ts'

/**
 * Name of the job that syncs a room. The key-value namespace with the last status sent for each room has the same name.
 */
export const statusJob = 'room-status'

/** The last status that the backend received, or may have received, for a room. */
interface SentStatus {
  /** When the room was created. Distinguishes the room from earlier and later rooms with the same id. */
  createdAt: number
  count: number
  /** When the status was sent, in epoch milliseconds; after a failed call, when that call ended. */
  at: number
  /** True until the backend has confirmed the start of the room. Before that, the backend may have received the start. */
  isStarting?: true
  /** When a server detected that the room no longer exists, in epoch milliseconds. */
  endedAt?: number
  /**
   * True if the backend has been notified that the room ended. After that, the only purpose of the entry is to delay
   * the next call.
   */
  ended?: boolean
}

interface Status {
  is_live: boolean
  participant_count: number
  started_at?: string
  ended_at?: string
}

export interface RoomStatus {
  /** Schedules a sync of a room that may have changed. */
  changed (roomId: string): void
  /** Sends a room's changes to the backend. This is the handler of {@link statusJob}. */
  sync (roomId: string): Promise<void>
  /** Schedules a sync of all rooms, because changes may have been missed. Retries until scheduling succeeds. */
  syncAll (): Promise<void>
  close (): void
}

export interface StatusOptions extends Pick<FeatureInstance, 'clock' | 'jobs' | 'log'> {
  kv: Pick<KeyValue, 'namespace'>
  store: Pick<RoomStore, 'getRoom' | 'listRooms'>
  client: Pick<BackendClient, 'call'>
  remembered: RememberedStatus
}

/** The last status that this server sent for each room, in case the store loses its copy. Kept across reloads. */
export type RememberedStatus = LRUCache<string, SentStatus>

/**
 * Minimum interval between two status calls for a room, in milliseconds. The backend's contract requires one second.
 * The additional 50 ms compensate for clock corrections, which may shorten an interval by a few milliseconds.
 */
const intervalMs = 1050
/** Retry delay after the backend rejected a status, in milliseconds. */
const rejectedRetryMs = 30_000
/** Retry delay after the store failed, in milliseconds. */
const storeRetryMs = 1000
/** The {@link SentStatus.count} of a room whose count must be sent again. No room has this count. */
const unknownCount = -1
const pageSize = 500
const maxRemembered = 10_000

export const createRememberedStatus = (): RememberedStatus => new LRUCache({ maxSize: maxRemembered, sizeCalculation: () => 1 })

const iso = (ms: number) => new Date(ms).toISOString()

/**
 * Keeps the backend's view of rooms current. Hooks only report that a room may have changed. A job per room compares
 * the room with the last status sent and sends the difference. The backend therefore eventually has the correct status,
 * even if it was down or a server died.
 */
export function createRoomStatus ({ clock, jobs, kv, log, store, client, remembered }: StatusOptions): RoomStatus {
  // The rooms whose sync is being scheduled. The value in the map is true if the room has changed again since
  // scheduling began.
  const scheduling = new Map<string, boolean>()
  const sent = kv.namespace(statusJob)
  const incarnations = kv.namespace(`${statusJob}-store`)
  const timers = new Set<NodeJS.Timeout>()
  let incarnation: string | undefined
  let syncingAll: Promise<void> | undefined
  let closed = false

  function later (fn: () => void): void {
    if (closed) return
    const timer = setTimeout(() => {
      timers.delete(timer)
      fn()
    }, storeRetryMs).unref()
    timers.add(timer)
  }

  async function schedule (roomId: string): Promise<void> {
    try {
      await jobs.schedule(statusJob, roomId, clock.now())
      const again = scheduling.get(roomId) === true
      scheduling.delete(roomId)
      if (again) changed(roomId)
    } catch (err) {
      log.debug({ err, roomId }, 'failed to schedule the status sync of a room, retrying')
      later(() => { schedule(roomId) })
    }
  }

  function changed (roomId: string): void {
    const known = scheduling.has(roomId)
    scheduling.set(roomId, known)
    if (!known) schedule(roomId)
  }

  async function save (roomId: string, status: SentStatus | undefined): Promise<void> {
    if (status) {
      remembered.set(roomId, status)
      await sent.set(roomId, JSON.stringify(status))
    } else {
      remembered.delete(roomId)
      await sent.delete(roomId)
    }
  }

  /**
   * Stores the result of a call. If the backend is slow, a job can exceed its deadline, and the room's next job then
   * runs at the same time. In that case, it is unknown which status the backend received last, so the room is synced
   * again.
   *
   * @param text the stored status before the call
   */
  async function replace (roomId: string, text: string | undefined, status: SentStatus): Promise<void> {
    if (await sent.compareAndSet(roomId, text, JSON.stringify(status))) {
      remembered.set(roomId, status)
      return
    }
    await save(roomId, { ...status, count: unknownCount })
    await jobs.schedule(statusJob, roomId, clock.now() + intervalMs)
  }

  /**
   * Sends a status to the backend.
   *
   * @param text the stored status before the call
   * @param kept the status to store if the call fails
   */
  async function post (roomId: string, status: Status, text: string | undefined, kept: SentStatus): Promise<void> {
    try {
      const response = await client.call({ name: 'status', method: 'POST', path: ['rooms', roomId, 'status'], body: status }, anyResponse)
      if (response === undefined) log.info({ roomId }, 'the backend does not know the room whose status was sent')
    } catch (error) {
      // A call that the backend has received delays the next call, even if it failed.
      const delayed = isCoded(error) && error.code === 'UNAVAILABLE' ? kept : { ...kept, at: clock.now() }
      // If the backend has rejected the start of the room, there is no end to send.
      const { isStarting, ...rejected } = delayed
      const failed = isStarting && status.is_live && isRejection(error) ? { ...rejected, ended: true } : delayed
      if (JSON.stringify(failed) !== text) await replace(roomId, text, failed)
      throw error
    }
  }

  /**
   * Sends a room's next status to the backend, if it differs from the last status sent.
   *
   * @param text the JSON of the last status sent
   * @returns whether another call must follow
   */
  async function sendNext (roomId: string, text: string | undefined, last: SentStatus | undefined, room: Awaited<ReturnType<RoomStore['getRoom']>>): Promise<boolean> {
    if (last && last.ended !== true && room?.createdAt !== last.createdAt) {
      // If the call fails, the actual end time is stored, so that a retry sends the same time.
      const endedAt = last.endedAt ?? clock.now()
      const ending = { ...last, endedAt }
      await post(roomId, { is_live: false, participant_count: 0, ended_at: iso(endedAt) }, text, ending)
      await replace(roomId, text, { ...ending, at: clock.now(), ended: true })
      return true
    }
    if (!room) {
      if (last) await save(roomId, undefined)
      return false
    }
    const { createdAt, participantCount } = room
    if (!last || last.ended === true || last.isStarting) {
      // The start is stored before the call: if the room ends before the backend has confirmed the start, the server must
      // send the end.
      const starting = last?.isStarting && last.ended !== true ? last : { createdAt, count: 0, at: clock.now(), isStarting: true } satisfies SentStatus
      const startingText = JSON.stringify(starting)
      if (startingText !== text) await save(roomId, starting)
      await post(roomId, { is_live: true, participant_count: 0, started_at: iso(createdAt) }, startingText, starting)
      await replace(roomId, startingText, { createdAt, count: 0, at: clock.now() })
      return participantCount !== 0
    }
    if (last.count !== participantCount) {
      await post(roomId, { is_live: true, participant_count: participantCount }, text, last)
      await replace(roomId, text, { createdAt, count: participantCount, at: clock.now() })
    }
    return false
  }

  /** @returns an id that changes when the store loses its data */
  async function readIncarnation (): Promise<string | undefined> {
    await incarnations.compareAndSet('incarnation', undefined, randomUUID())
    return await incarnations.get('incarnation')
  }

  async function scheduleAll (): Promise<void> {
    const current = await readIncarnation()
    if (incarnation !== undefined && incarnation !== current) {
      // Restore the entries that the store lost. For rooms that ended while the store was down, this server's copy is
      // the only record.
      for (const [roomId, status] of [...remembered]) {
        if (await sent.get(roomId) === undefined) await save(roomId, status)
      }
    }
    incarnation = current
    for (const roomId of await sent.list()) changed(roomId)
    for (let after: string | undefined = ''; after !== undefined;) {
      const rooms: { roomId: string }[] = await store.listRooms(after, pageSize)
      for (const { roomId } of rooms) changed(roomId)
      after = rooms.length < pageSize ? undefined : rooms.at(-1)?.roomId
    }
  }

  async function syncAll (): Promise<void> {
    syncingAll ??= scheduleAll().catch((err: unknown) => {
      log.debug({ err }, 'status sync of all rooms failed, retrying')
      later(() => { syncAll() })
    }).finally(() => { syncingAll = undefined })
    await syncingAll
  }

  return {
    changed,
    syncAll,
    async sync (roomId) {
      const [text, found] = await Promise.all([sent.get(roomId), store.getRoom(roomId)])
      // The backend has no rooms without an owner.
      const room = found && hasOwner(found) ? found : undefined
      const last = text === undefined ? undefined : JSON.parse(text) as SentStatus
      // Limit the wait, because the clock of the server that sent the last status may be ahead of this server's clock.
      const waitMs = last === undefined ? 0 : Math.min(last.at + intervalMs - clock.now(), intervalMs)
      try {
        if (waitMs > 0) await jobs.schedule(statusJob, roomId, clock.now() + waitMs)
        else if (await sendNext(roomId, text, last, room)) await jobs.schedule(statusJob, roomId, clock.now() + intervalMs)
      } catch (error) {
        if (!isRejection(error)) throw error
        log.warn({ err: error, roomId }, 'backend rejected the status of a room, retrying later')
        await jobs.schedule(statusJob, roomId, clock.now() + rejectedRetryMs)
      }
    },
    close () {
      closed = true
      for (const timer of timers) clearTimeout(timer)
    }
  }
}
