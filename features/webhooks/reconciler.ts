import { setTimeout as delay } from 'node:timers/promises'
import { hasOwner, isCoded, userKeyOf } from 'flylive-audio-server/feature'
import type { FeatureInstance, Profile, RoomRecord } from 'flylive-audio-server/feature'
import type { Intake } from './intake.ts'
import { broadcastField, createReports, memberField, roomField, seatChanges, seatsField } from './known-room.ts'
import type { Change, KnownBroadcast, KnownMember, KnownRoom, KnownSeats, RoomStart, SeatEntry } from './known-room.ts'
import type { WebhookMetrics } from './metrics.ts'
import type { WebhookStorage } from './queue.ts'

/** Name of the job that compares a room with what has been reported about it. */
export const roomJob = 'webhook-room'
/** Name of the job that finds the rooms for which {@link roomJob} must run. */
export const sweepJob = 'webhook-sweep'

const sweepMs = 60_000
const pageSize = 500
/**
 * Delay before a difference is checked again, in milliseconds. A difference is reported only if it still exists after
 * this delay, because the server where the change happened may have reported the change in the meantime. Without Redis,
 * reports arrive immediately.
 */
const verifyMs = { redis: 3000, memory: 100 }

export interface Reconciler {
  /** Schedules the comparison of a room with what has been reported about it. */
  review (roomId: string): void
  /**
   * Now and every minute, schedules the comparison of each room whose creation time or number of members differs from
   * what has been reported.
   *
   * @param isFull whether the first of these runs compares all rooms
   */
  reviewAll (isFull: boolean): void
  close (): void
}

export const startOf = (record: RoomRecord): RoomStart => ({
  startedAt: record.createdAt,
  ownerId: hasOwner(record) ? record.ownerId : null,
  title: record.title,
  topic: record.topic
})

export function seatEntries ({ seats, lockedSeats }: { seats: readonly { seatIndex: number, userId: number | string, isMuted: boolean }[], lockedSeats: readonly number[] }): SeatEntry[] {
  const locked = new Set(lockedSeats)
  const taken = seats.map(({ seatIndex, userId, isMuted }) => ({ seatIndex, userId, isMuted, isLocked: locked.has(seatIndex) }))
  const free = lockedSeats.filter((index) => !seats.some(({ seatIndex }) => seatIndex === index))
  return [...taken, ...free.map((seatIndex) => ({ seatIndex, userId: null, isMuted: false, isLocked: true }))]
}

type Difference = Change extends infer C ? C extends Change ? Omit<C, 'id' | 'at'> : never : never

/**
 * Finds and reports changes that were not reported because a server died or the feature was off. One job per room
 * compares the room with what has been reported about it.
 */
export function createReconciler (app: Pick<FeatureInstance, 'clock' | 'features' | 'jobs' | 'log' | 'redis' | 'store'>, storage: WebhookStorage, intake: Intake, metrics: WebhookMetrics): Reconciler {
  const { clock, features, jobs, log, store } = app
  const report = createReports(clock)
  const closing = new AbortController()

  async function membersOf (roomId: string): Promise<Map<string, Profile>> {
    const members = new Map<string, Profile>()
    for (let after = 0; ;) {
      const { arrivals } = await store.listParticipants(roomId, after, pageSize)
      for (const { profile } of arrivals) members.set(userKeyOf(profile.userId), profile)
      const last = arrivals.at(-1)
      if (!last || arrivals.length < pageSize) return members
      after = last.place
    }
  }

  /**
   * @returns the differences between a room and what has been reported about it, each under a key that identifies the
   *   difference
   */
  async function compare (roomId: string): Promise<Map<string, Difference>> {
    const { fields } = await storage.readRoom(roomId)
    const [record, members] = await Promise.all([store.getRoom(roomId), membersOf(roomId)])
    const found = new Map<string, Difference>()
    const text = fields.get(roomField)
    const stored = text === undefined ? undefined : JSON.parse(text) as KnownRoom
    const known = stored?.isClosed ? undefined : stored
    if (known && known.startedAt !== record?.createdAt) found.set(`finished ${known.startedAt}`, { type: 'finished', startedAt: known.startedAt, reason: 'unknown' })
    if (!record) return found
    const isSame = known?.startedAt === record.createdAt
    if (!isSame) found.set(`started ${record.createdAt}`, { type: 'started', room: startOf(record) })
    for (const [userKey, user] of members) {
      const field = isSame ? fields.get(memberField(userKey)) : undefined
      if (field === undefined) {
        found.set(`joined ${userKey}`, { type: 'joined', room: startOf(record), userKey, data: { userId: user.userId, user, participantCount: members.size }, isCorrection: true })
        continue
      }
      const { joinedAt, again } = JSON.parse(field) as KnownMember
      // No server has reported that the user left before rejoining.
      if (again) found.set(`left ${userKey} ${joinedAt}`, { type: 'left', startedAt: record.createdAt, userKey, reason: 'disconnected', count: members.size - 1, joinedAt })
    }
    for (const [name, field] of isSame ? fields : []) {
      const userKey = name.startsWith(memberField('')) ? name.slice(memberField('').length) : undefined
      if (userKey === undefined || members.has(userKey)) continue
      const { joinedAt } = JSON.parse(field) as KnownMember
      found.set(`left ${userKey} ${joinedAt}`, { type: 'left', startedAt: record.createdAt, userKey, reason: 'disconnected', count: members.size, joinedAt })
    }
    const reportedSeats = isSame ? fields.get(seatsField) : undefined
    const seats = reportedSeats === undefined ? undefined : await features.getFeature('seats')?.snapshotOf(record)
    // Without Redis, a restart frees all seats, and their revision begins again.
    if (reportedSeats !== undefined && seats?.revision === 0) {
      const reported = JSON.parse(reportedSeats) as KnownSeats
      const current = seatEntries(seats)
      if (seatChanges(reported.seats, current).length > 0) found.set(`seats ${reported.revision}`, { type: 'seats', startedAt: record.createdAt, revision: reported.revision + 1, seats: current })
    }
    const broadcast = isSame ? fields.get(broadcastField) : undefined
    const last = broadcast === undefined ? undefined : JSON.parse(broadcast) as KnownBroadcast
    const broadcasts = features.getFeature('broadcast')
    // While the broadcast feature is off, broadcasts are interrupted, but they have not stopped.
    if (!broadcasts) return found
    const current = await broadcasts.current(roomId)
    // The report of a newer broadcast also reports that the last broadcast has stopped.
    if (current && current.startedAt !== last?.startedAt) found.set(`on air ${current.startedAt}`, { type: 'broadcast', ...current, onAir: true })
    else if (!current && last?.onAir === true) found.set(`stopped ${last.startedAt}`, { type: 'broadcast', ...last, onAir: false })
    return found
  }

  async function reviewSeats (roomId: string): Promise<void> {
    const record = await store.getRoom(roomId)
    const seats = record && await features.getFeature('seats')?.snapshotOf(record)
    // If these seats have already been reported, no event is emitted.
    if (record && seats && seats.revision > 0) intake.add(roomId, { ...report(), type: 'seats', startedAt: record.createdAt, revision: seats.revision, seats: seatEntries(seats) })
  }

  jobs.on(roomJob, async (roomId) => {
    const first = await compare(roomId)
    if (first.size > 0) {
      await delay(app.redis ? verifyMs.redis : verifyMs.memory, undefined, { signal: closing.signal })
      const second = await compare(roomId)
      for (const [key, difference] of second) {
        if (!first.has(key)) continue
        metrics.corrections.inc()
        intake.add(roomId, { ...difference, ...report() } as Change)
      }
      await intake.stored(roomId)
    }
    await reviewSeats(roomId)
  })

  async function pagesOf<T extends { roomId: string }> (list: (after: string, limit: number) => Promise<T[]>): Promise<Map<string, T>> {
    const all = new Map<string, T>()
    for (let after = ''; ;) {
      const page = await list(after, pageSize)
      for (const room of page) all.set(room.roomId, room)
      const last = page.at(-1)
      if (!last || page.length < pageSize) return all
      after = last.roomId
    }
  }

  async function sweep (isFull: boolean): Promise<void> {
    const [rooms, known] = await Promise.all([pagesOf((after, limit) => store.listRooms(after, limit)), pagesOf((after, limit) => storage.listRooms(after, limit))])
    for (const roomId of new Set([...rooms.keys(), ...known.keys()])) {
      const [room, text] = [rooms.get(roomId), known.get(roomId)?.room]
      const { startedAt, members } = JSON.parse(text ?? '{}') as Partial<KnownRoom>
      if (isFull || !room || startedAt !== room.createdAt || members !== room.participantCount) await jobs.schedule(roomJob, roomId, clock.now())
    }
  }

  jobs.on(sweepJob, async (key) => {
    await sweep(key === 'full')
    if (key !== 'full') await jobs.schedule(sweepJob, key, clock.now() + sweepMs)
  })

  const failed = (err: unknown) => log[isCoded(err) ? 'debug' : 'error']({ err }, 'failed to schedule the comparison of a room with its webhooks')

  function scheduleSweep (key: string, at: number): void {
    jobs.schedule(sweepJob, key, at).catch(failed)
  }

  // Each sweep schedules the next one. The timer does this as well, because the sweep is lost if Redis loses its data. If
  // a sweep is already scheduled, the timer has no effect.
  const timer = setInterval(() => scheduleSweep('counts', clock.now() + sweepMs), sweepMs).unref()

  return {
    review: (roomId) => { jobs.schedule(roomJob, roomId, clock.now()).catch(failed) },
    reviewAll (isFull) {
      for (const key of isFull ? ['full', 'counts'] : ['counts']) scheduleSweep(key, clock.now())
    },
    close () {
      clearInterval(timer)
      closing.abort()
    }
  }
}
