import type { Event } from '../../support/client.ts'
import { mayAsk, targetOf } from './model-rules.ts'
import type { Request, Role } from './model-rules.ts'

// Records all permitted requests, so that the test can find the request that caused an event.

/**
 * A permitted request. While the request is in flight, `code` is empty. Afterwards, `code` is `ok`, an error code, or
 * `lost` if no reply has arrived.
 */
export interface Entry {
  by: string
  role: Role
  type: string
  seatIndex: unknown
  target: string
  sent: number
  done: number
  code: string
}

/**
 * A period in which a user was outside a room, in epoch milliseconds. The period begins before any server can detect
 * the absence, and ends when the user's next join reply arrives.
 */
interface Absence {
  from: number
  to: number
  /** True if the user left the room; false if the connection broke. */
  meant: boolean
}

interface EventDetails {
  roomId: string
  seatIndex: number
  userId: string
  reason: string
  isLocked: boolean
  isMuted: boolean
  isPending: boolean
  handRaised: boolean
  invitedUserId: string
  seatCount: number
}

/**
 * Maximum time between the reply to a request and the event that the request causes, in milliseconds, on an idle
 * machine. The test adds twice the time of the slowest reply, because the machine may be busy.
 */
const minLagMs = 3000
/** The outcomes of a request that may have changed the room. */
const mayHaveChanged = new Set(['ok', 'lost', 'UNAVAILABLE'])
/** Time for which copies of an event are skipped, in milliseconds, because many clients receive the same event. */
const sameMs = 500

const sameSeat = ({ seatIndex }: Entry, details: EventDetails) => seatIndex === details.seatIndex
/** Whether a request can give a user the seat at `index` (any seat if `index` is undefined). */
const seats = ({ type, by, target, seatIndex }: Entry, userId: string, index?: number) =>
  (index === undefined || (seatIndex ?? index) === index) &&
  (type === 'seat:assign' ? target === userId : (type === 'seat:take' || type === 'seat:invite:accept') && by === userId)

/** Whether a request could have caused an event. */
function leadsTo (entry: Entry, event: string, details: EventDetails, ownerKey: string): boolean {
  const { type, role, by, target } = entry
  switch (event) {
    case 'seat:updated': return seats(entry, details.userId, details.seatIndex)
    case 'seat:cleared':
      switch (details.reason) {
        case 'left': return type === 'seat:leave' && by === details.userId
        case 'moved': return seats(entry, details.userId)
        case 'locked': return type === 'seat:lock' && sameSeat(entry, details) && (details.userId !== ownerKey || role === 'owner')
        case 'removed':
          if (type === 'resize') return details.seatIndex >= Number(entry.seatIndex)
          if (type === 'seat:assign') return sameSeat(entry, details)
          return type === 'seat:remove' && target === details.userId && (details.userId !== ownerKey || role === 'owner')
        default: return false
      }
    case 'seat:locked':
      if (details.isLocked) return type === 'seat:lock' && sameSeat(entry, details)
      if (type === 'resize') return details.seatIndex >= Number(entry.seatIndex)
      return (type === 'seat:unlock' && sameSeat(entry, details)) || (type === 'seat:invite:accept' && (entry.seatIndex ?? details.seatIndex) === details.seatIndex)
    case 'seat:userMuted': return ((type === 'seat:assign' && !details.isMuted) || type === (details.isMuted ? 'seat:mute' : 'seat:unmute')) && target === details.userId
    case 'seat:invite:received': return type === 'seat:invite' && sameSeat(entry, details)
    case 'seat:invite:pending':
      if (details.isPending) return type === 'seat:invite' && sameSeat(entry, details) && target === details.invitedUserId
      if (type === 'resize') return details.seatIndex >= Number(entry.seatIndex)
      if (type === 'seat:invite:decline') return by === details.invitedUserId && (entry.seatIndex ?? details.seatIndex) === details.seatIndex
      if (type === 'seat:invite:accept' || type === 'seat:take') return (entry.seatIndex ?? details.seatIndex) === details.seatIndex
      return type === 'seat:assign' && sameSeat(entry, details)
    case 'seat:hand':
      if (details.handRaised) return type === 'seat:request' && by === details.userId
      return seats(entry, details.userId) || (type === 'seat:request:cancel' && (target === details.userId || by === details.userId)) || (type === 'seat:invite:decline' && by === details.userId)
    case 'seat:count': return type === 'resize' && entry.seatIndex === details.seatCount
    default: return false
  }
}

export interface Journal {
  /** Records a request before it is sent, if the sender's role permits the request. */
  note (roomId: string, by: string, role: Role, request: Request): Entry | undefined
  noteResize (roomId: string, seatCount: number): Entry
  close (entry: Entry | undefined, code: string): void
  /** Records that a user has left a room, is disconnected, or is about to leave. */
  gone (roomId: string, user: string, from: number, meant: boolean): void
  back (roomId: string, user: string): void
  record (event: Event, ownerKey: string): void
  /**
   * Call this function only after all requests have been answered.
   *
   * @returns the events that have no known cause
   */
  unexplained (): string[]
}

/** @param inviteMs time until an invite expires, in milliseconds */
export function createJournal (graceMs: number, inviteMs: number): Journal {
  const entries = new Map<string, Entry[]>()
  const absences = new Map<string, Absence[]>()
  const wrong: string[] = []
  /** Events that can only have been caused by pending requests. `entries` contains these requests. */
  const waiting: { what: string, entries: Entry[] }[] = []
  /** Arrival times of the events of pending invites, by room and seat. */
  const since = new Map<string, number>()
  const explained = new Map<string, number>()
  let lagMs = minLagMs

  const of = <T>(map: Map<string, T[]>, key: string): T[] => {
    const known = map.get(key) ?? []
    map.set(key, known)
    return known
  }
  function add (roomId: string, entry: Omit<Entry, 'sent' | 'done' | 'code'>): Entry {
    const made = { ...entry, sent: Date.now(), done: Infinity, code: '' }
    of(entries, roomId).push(made)
    return made
  }
  const wasAway = (roomId: string, user: string, fits: (absence: Absence) => boolean) => of(absences, `${roomId} ${user}`).some(fits)

  /** Whether an absence or an expired invite, rather than a request, could have caused an event. */
  function hasOtherCause (event: string, details: EventDetails, now: number): boolean {
    const { roomId, reason, userId, seatIndex, invitedUserId } = details
    const hasLeft = ({ meant, to }: Absence) => meant && now - to <= lagMs
    if (event === 'seat:cleared' && reason === 'left') return wasAway(roomId, userId, hasLeft)
    // On a busy machine, a broken connection is detected late, so the absence may have begun earlier.
    const lateMs = sameMs + lagMs - minLagMs
    if (event === 'seat:cleared' && reason === 'disconnected') return wasAway(roomId, userId, ({ from, to }) => Math.min(to, now) - from >= graceMs - lateMs)
    // The server sends the event of a raised hand again when the user returns.
    if (event === 'seat:hand' && details.handRaised) return wasAway(roomId, userId, ({ meant, to }) => !meant && now - to <= graceMs + lagMs)
    if (event === 'seat:hand') return wasAway(roomId, userId, (absence) => hasLeft(absence) || Math.min(absence.to, now) - absence.from >= graceMs - lateMs)
    if (event !== 'seat:invite:pending' || details.isPending) return false
    return wasAway(roomId, invitedUserId, hasLeft) || now - (since.get(`${roomId} ${seatIndex}`) ?? 0) >= inviteMs - lagMs
  }

  return {
    note (roomId, by, role, request) {
      if (!mayAsk(role, request.type) || (request.data.roomId ?? roomId) !== roomId) return
      return add(roomId, { by, role, type: request.type, seatIndex: request.data.seatIndex, target: targetOf(request) })
    },
    noteResize: (roomId, seatCount) => add(roomId, { by: '', role: 'owner', type: 'resize', seatIndex: seatCount, target: '' }),
    close (entry, code) {
      if (!entry) return
      Object.assign(entry, { code, done: Date.now() })
      lagMs = Math.max(lagMs, minLagMs + 2 * (entry.done - entry.sent))
    },
    gone (roomId, user, from, meant) {
      of(absences, `${roomId} ${user}`).push({ from, to: Infinity, meant })
    },
    back (roomId, user) {
      for (const absence of of(absences, `${roomId} ${user}`)) absence.to = Math.min(absence.to, Date.now())
    },
    record ({ type, data }, ownerKey) {
      const now = Date.now()
      const what = `${type} ${JSON.stringify(data)}`
      if (now - (explained.get(what) ?? 0) < sameMs) return
      explained.set(what, now)
      const details = { ...data, userId: String(data.userId), invitedUserId: String(data.invitedUserId) } as unknown as EventDetails
      const mine = of(entries, details.roomId)
      const possible: Entry[] = []
      for (let i = mine.length - 1; i >= 0; i--) {
        const entry = mine[i] as Entry
        // Entries are in sending order. All older requests have been answered.
        if (entry.sent < now - 3 * lagMs) break
        if (entry.done >= now - lagMs && (entry.code === '' || mayHaveChanged.has(entry.code)) && leadsTo(entry, type, details, ownerKey)) possible.push(entry)
      }
      const sure = possible.some(({ code }) => code !== '') || hasOtherCause(type, details, now)
      if (type === 'seat:invite:pending' && details.isPending) since.set(`${details.roomId} ${details.seatIndex}`, now)
      if (sure) return
      if (possible.length > 0) waiting.push({ what, entries: possible })
      else wrong.push(what)
    },
    unexplained: () => [...wrong, ...waiting.filter(({ entries }) => !entries.some(({ code }) => mayHaveChanged.has(code))).map(({ what }) => what)]
  }
}
