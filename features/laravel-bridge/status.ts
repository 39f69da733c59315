import { randomUUID } from 'node:crypto'
import type { FeatureInstance, KeyValue, RoomStore } from 'flylive-audio-server/feature'
import { LRUCache } from 'lru-cache'
import { isRefusal } from './client.ts'
import type { BackendClient } from './client.ts'
import { anyAnswer } from './messages.ts'

/** Name of the job, and of the namespace that keeps what the backend was last sent per room. */
export const statusJob = 'room-status'

/** What the backend was last told of a room. */
interface Told {
  /** Which room of that name. */
  createdAt: number
  count: number
  /** When it had heard it, epoch milliseconds. */
  at: number
  /** When the room was found to be gone, epoch milliseconds. */
  endedAt?: number
  /** Whether the backend knows that. The note then only keeps what is said next from coming too soon. */
  ended?: boolean
}

interface Status {
  is_live: boolean
  participant_count: number
  started_at?: string
  ended_at?: string
}

export interface RoomStatus {
  /** Something about a room may have changed. */
  changed (roomId: string): void
  /** Tells the backend of one room what it does not know yet: the handler of {@link statusJob}. */
  tell (roomId: string): Promise<void>
  /** Has all rooms looked at: they may have changed while nobody here was looking. Goes on until it could be done. */
  lookAtAll (): Promise<void>
  close (): void
}

export interface StatusOptions extends Pick<FeatureInstance, 'jobs' | 'log'> {
  kv: Pick<KeyValue, 'namespace'>
  store: Pick<RoomStore, 'getRoom' | 'listRooms'>
  client: Pick<BackendClient, 'call'>
  remembered: RememberedStatus
}

/** The status that this server has last sent for each room, in case the store loses it. It outlives a reload. */
export type RememberedStatus = LRUCache<string, Told>

/** How often the backend hears of one room at most (its contract), in milliseconds. */
const intervalMs = 1000
/** When it is tried again to say what the backend refuses to hear, in milliseconds. */
const refusedMs = 30_000
/** When it is tried again to reach the store, in milliseconds. */
const retryMs = 1000
/** Rooms asked for at a time. */
const page = 500
/** Rooms of which this server remembers what it told, should the store lose it. */
const maxRemembered = 10_000

export const createRememberedStatus = (): RememberedStatus => new LRUCache({ max: maxRemembered })

const iso = (ms: number) => new Date(ms).toISOString()

/**
 * Keeps the backend's view of rooms right. Hooks only say that a room may have
 * changed; a job of the room then compares what is with what the backend was
 * last told, and says the difference. So whatever gets lost in between, to a
 * backend that is away or a server that dies, what is said last is true.
 */
export function createRoomStatus ({ jobs, kv, log, store, client, remembered }: StatusOptions): RoomStatus {
  // Rooms whose change is being noted, and whether they have changed again meanwhile.
  const noting = new Map<string, boolean>()
  const sent = kv.namespace(statusJob)
  const incarnations = kv.namespace(`${statusJob}-store`)
  const timers = new Set<NodeJS.Timeout>()
  let incarnation: string | undefined
  let looking: Promise<void> | undefined
  let closed = false

  function later (fn: () => void): void {
    if (closed) return
    const timer = setTimeout(() => {
      timers.delete(timer)
      fn()
    }, retryMs).unref()
    timers.add(timer)
  }

  async function note (roomId: string): Promise<void> {
    try {
      await jobs.schedule(statusJob, roomId, Date.now())
      const again = noting.get(roomId) === true
      noting.delete(roomId)
      if (again) changed(roomId)
    } catch (err) {
      log.debug({ err, roomId }, 'a change of a room is noted later')
      later(() => { note(roomId) })
    }
  }

  function changed (roomId: string): void {
    const known = noting.has(roomId)
    noting.set(roomId, known)
    if (!known) note(roomId)
  }

  async function post (roomId: string, status: Status): Promise<void> {
    const answer = await client.call({ name: 'status', method: 'POST', path: ['rooms', roomId, 'status'], body: status }, anyAnswer)
    if (answer === undefined) log.info({ roomId }, 'the backend does not know the room whose status it was told')
  }

  async function write (roomId: string, told: Told | undefined): Promise<void> {
    if (told) {
      remembered.set(roomId, told)
      await sent.set(roomId, JSON.stringify(told))
    } else {
      remembered.delete(roomId)
      await sent.delete(roomId)
    }
  }

  /** @returns whether there is more to say or do */
  async function sayNext (roomId: string, told: Told | undefined, room: Awaited<ReturnType<RoomStore['getRoom']>>): Promise<boolean> {
    if (told && told.ended !== true && room?.createdAt !== told.createdAt) {
      const ending = { ...told, endedAt: told.endedAt ?? Date.now() }
      try {
        await post(roomId, { is_live: false, participant_count: 0, ended_at: iso(ending.endedAt) })
      } catch (error) {
        // So that it is the true time once the backend hears it.
        if (told.endedAt === undefined) await write(roomId, ending)
        throw error
      }
      await write(roomId, { ...ending, at: Date.now(), ended: true })
      return true
    }
    if (!room) {
      if (told) await write(roomId, undefined)
      return false
    }
    const { createdAt, participantCount } = room
    if (!told || told.ended === true) {
      await post(roomId, { is_live: true, participant_count: 0, started_at: iso(createdAt) })
      await write(roomId, { createdAt, count: 0, at: Date.now() })
      return participantCount !== 0
    }
    if (told.count !== participantCount) {
      await post(roomId, { is_live: true, participant_count: participantCount })
      await write(roomId, { createdAt, count: participantCount, at: Date.now() })
    }
    return false
  }

  /** @returns an id that changes when the store loses everything */
  async function readIncarnation (): Promise<string | undefined> {
    await incarnations.compareAndSet('incarnation', undefined, randomUUID())
    return await incarnations.get('incarnation')
  }

  async function look (): Promise<void> {
    const current = await readIncarnation()
    if (incarnation !== undefined && incarnation !== current) {
      // What ended while the store was away is known by these notes alone.
      for (const [roomId, told] of [...remembered]) {
        if (await sent.get(roomId) === undefined) await write(roomId, told)
      }
    }
    incarnation = current
    for (const roomId of await sent.list()) changed(roomId)
    for (let after: string | undefined = ''; after !== undefined;) {
      const rooms: { roomId: string }[] = await store.listRooms(after, page)
      for (const { roomId } of rooms) changed(roomId)
      after = rooms.length < page ? undefined : rooms.at(-1)?.roomId
    }
  }

  async function lookAtAll (): Promise<void> {
    looking ??= look().catch((err: unknown) => {
      log.debug({ err }, 'rooms are looked at later')
      later(() => { lookAtAll() })
    }).finally(() => { looking = undefined })
    await looking
  }

  return {
    changed,
    lookAtAll,
    async tell (roomId) {
      const [text, room] = await Promise.all([sent.get(roomId), store.getRoom(roomId)])
      const told = text === undefined ? undefined : JSON.parse(text) as Told
      // The clock of the server that said it may be ahead of this one's.
      const wait = told === undefined ? 0 : Math.min(told.at + intervalMs - Date.now(), intervalMs)
      try {
        if (wait > 0) await jobs.schedule(statusJob, roomId, Date.now() + wait)
        else if (await sayNext(roomId, told, room)) await jobs.schedule(statusJob, roomId, Date.now() + intervalMs)
      } catch (error) {
        if (!isRefusal(error)) throw error
        log.warn({ err: error, roomId }, 'the backend refuses to be told the status of a room')
        await jobs.schedule(statusJob, roomId, Date.now() + refusedMs)
      }
    },
    close () {
      closed = true
      for (const timer of timers) clearTimeout(timer)
    }
  }
}
