import { createEvent, userKeyOf, withTimeout } from 'flylive-audio-server/feature'
import type { FeatureInstance, LocalRoom, OutgoingEvent, Role, Session, z } from 'flylive-audio-server/feature'
import type { events } from './messages.ts'
import { viewOfRequests } from './state.ts'
import type { SeatRequestView, SeatState, SeatStateHandle } from './state.ts'

/**
 * Who hears of requests for seats: the owner and admins of all of them, everybody
 * else of their own. Each server tells its own sockets, whenever it hears of a change
 * of the room's seats. What is told is always all that one may hear of, as it is then: so nothing
 * can be missed, and what comes twice does no harm.
 *
 * In a room of thousands a change concerns a few: the hosts, who are known
 * since they came in, and whose hand went up or down. Nobody else is looked at.
 */
export interface Hands {
  /** @returns what the reply to a join tells a member */
  welcome (room: LocalRoom, session: Session): Promise<SeatRequestView[]>
  /** A room's seats have changed. */
  follow (room: LocalRoom, state: SeatState | undefined): void
  /** What a member may do has been looked up, whatever for. */
  learn (room: LocalRoom, session: Session, role: Role): void
  left (room: LocalRoom, session: Session): void
  closed (room: LocalRoom): void
  /** Takes over a room whose members came in while nobody told of requests. */
  adopt (room: LocalRoom): void
}

/** What is known of the rooms on this server. It outlives a reload. */
export type KnownHands = WeakMap<LocalRoom, Hearing>

interface Hearing {
  /** The requests as those who may hear of them know them. */
  told: readonly SeatRequestView[]
  /** The owner and admins, as far as they are known. */
  readonly hosts: Set<Session>
  /** Those who are told by the reply to their join, once it is known what they may hear. */
  readonly coming: Set<Session>
  /** Hosts of whom it is asked whether they still are. */
  readonly asking: Set<Session>
}

/**
 * How long anybody waits until it is known what a member may hear, in milliseconds. Then
 * it is what is known without asking, and what turns out to be different is told later.
 */
const patienceMs = 500

const isHost = (role: Role) => role !== 'member'
const sameAs = (session: Session) => ({ userId }: SeatRequestView) => userKeyOf(userId) === session.userKey
const textOf = ({ userId, requestedAt }: SeatRequestView) => `${requestedAt} ${userKeyOf(userId)}`

export function createHands ({ log, rooms, sockets }: Pick<FeatureInstance, 'log' | 'rooms' | 'sockets'>, state: Pick<SeatStateHandle, 'peek'>, known: KnownHands): Hands {
  function hearingOf (room: LocalRoom): Hearing {
    const hearing = known.get(room) ?? {
      told: viewOfRequests(state.peek(room.roomId)),
      hosts: new Set(),
      coming: new Set(),
      asking: new Set()
    }
    known.set(room, hearing)
    return hearing
  }

  /** A member's role by what is known without asking anybody. */
  const guess = (room: LocalRoom, session: Session): Role =>
    hearingOf(room).hosts.has(session) ? 'admin' : rooms.defaultRoleOf(room.record, session)

  /** A member's role; never fails. A backend that is asked keeps its answer for a while, so this is no call each time. */
  const ask = (room: LocalRoom, session: Session): Promise<Role> => rooms.roleOf(room.record, session).catch((err: unknown) => {
    log.debug({ err, roomId: room.roomId }, 'who may hear of requests for seats is guessed')
    return guess(room, session)
  })

  /** @returns undefined when it takes too long */
  const inTime = (asked: Promise<Role>): Promise<Role | undefined> => withTimeout(asked, patienceMs, () => undefined)

  const eventOf = (roomId: string, requests: readonly SeatRequestView[]) =>
    createEvent('seat:requests', { roomId, requests: [...requests] } satisfies z.input<(typeof events)['seat:requests']>)

  function tellOwn (room: LocalRoom, { told }: Hearing, session: Session): void {
    rooms.sendTo(room, session, eventOf(room.roomId, told.filter(sameAs(session))))
  }

  /** Notes what a member may hear from now on, and tells them when that is more or less than before. */
  function settle (room: LocalRoom, session: Session, role: Role): void {
    const hearing = hearingOf(room)
    const { hosts, told } = hearing
    if (!room.members.has(session) || isHost(role) === hosts.has(session)) return
    if (!isHost(role)) {
      hosts.delete(session)
      return tellOwn(room, hearing, session)
    }
    hosts.add(session)
    if (!told.every(sameAs(session))) rooms.sendTo(room, session, eventOf(room.roomId, told))
  }

  /** @param hosts who are to be told all there is, when they still may hear of it */
  async function tellHosts (room: LocalRoom, hearing: Hearing, hosts: readonly Session[]): Promise<void> {
    // Whoever is being asked about is told the newest then.
    const asked = hosts.filter((session) => !hearing.asking.has(session))
    let event: OutgoingEvent | undefined
    let written: readonly SeatRequestView[] | undefined
    await Promise.all(asked.map(async (session) => {
      hearing.asking.add(session)
      const answer = ask(room, session)
      const role = await inTime(answer)
      hearing.asking.delete(session)
      if (role === undefined) answer.then((late) => settle(room, session, late))
      if (hearing.coming.has(session) || !hearing.hosts.has(session)) return
      if (role === 'member') return settle(room, session, role)
      if (!event || written !== hearing.told) {
        written = hearing.told
        event = eventOf(room.roomId, written)
      }
      rooms.sendTo(room, session, event)
    }))
  }

  return {
    async welcome (room, session) {
      const hearing = hearingOf(room)
      const { coming, hosts } = hearing
      // Whoever welcomes a member needs to know that as well, so nobody is asked more often for it.
      const asked = ask(room, session)
      if (hearing.told.every(sameAs(session))) {
        // There is nothing that only some may hear, and nothing to wait for.
        asked.then((role) => settle(room, session, role))
        return [...hearing.told]
      }
      coming.add(session)
      const answer = await inTime(asked)
      coming.delete(session)
      const role = answer ?? guess(room, session)
      if (isHost(role) && room.members.has(session)) hosts.add(session)
      else hosts.delete(session)
      if (answer === undefined) asked.then((late) => settle(room, session, late))
      return isHost(role) ? [...hearing.told] : hearing.told.filter(sameAs(session))
    },
    follow (room, state) {
      const hearing = hearingOf(room)
      const now = viewOfRequests(state)
      // First what was, then what is: what is left are those that went up or down.
      const changed = new Map(hearing.told.map((request) => [textOf(request), request]))
      for (const request of now) if (!changed.delete(textOf(request))) changed.set(textOf(request), request)
      if (changed.size === 0) return
      hearing.told = now
      const { coming, hosts } = hearing
      for (const userKey of new Set([...changed.values()].map(({ userId }) => userKeyOf(userId)))) {
        for (const session of sockets.ofUser(userKey)) {
          if (session.roomId === room.roomId && !hosts.has(session) && !coming.has(session)) tellOwn(room, hearing, session)
        }
      }
      tellHosts(room, hearing, [...hosts])
    },
    learn: settle,
    left (room, session) {
      const { coming, hosts } = hearingOf(room)
      coming.delete(session)
      hosts.delete(session)
    },
    closed (room) {
      known.delete(room)
    },
    adopt (room) {
      // The backend is not asked about thousands at once: whom only it knows to be an admin hears
      // of requests when they join again, as clients do when a feature is turned on, or use a right.
      for (const session of room.members) {
        if (isHost(rooms.defaultRoleOf(room.record, session))) ask(room, session).then((role) => settle(room, session, role))
      }
    }
  }
}
