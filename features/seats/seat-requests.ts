import { createEvent, fitting, maxPageBytes, userKeyOf, withTimeout } from 'flylive-audio-server/feature'
import type { FeatureInstance, LocalRoom, OutgoingEvent, Role, Session, UserId, z } from 'flylive-audio-server/feature'
import type { events } from './messages.ts'
import { viewOfRequests } from './state.ts'
import type { SeatRequestView, SeatState, SeatStateHandle } from './state.ts'

/**
 * Sends seat requests to the members who are allowed to see them. Hosts (the owner and admins) receive all requests;
 * other members receive only their own requests. Each server sends the requests to its own sockets when a room's seats
 * change. An event always contains every request that its recipient is allowed to see, so lost and repeated events are
 * harmless.
 *
 * A room can have thousands of members, so a change is sent only to hosts and to users whose own request was added,
 * removed or moved in the queue. If hundreds of members raise their hands at once, several changes are sent together.
 */
export interface SeatRequests {
  /** @returns the requests that the reply to a member's join contains */
  joinSnapshot (room: LocalRoom, session: Session): Promise<SeatRequestView[]>
  /**
   * If a room's requests have changed since they were last sent, sends them immediately or at most {@link windowMs}
   * later.
   */
  publish (room: LocalRoom, state: SeatState | undefined): void
  /** Stores a member's role that another operation has looked up. */
  updateRole (room: LocalRoom, session: Session, role: Role): void
  /** Sends all requests to a new owner. A previous owner who is not an admin then receives only their own requests. */
  ownerChanged (room: LocalRoom, ownerId: UserId, previousOwnerId: UserId): void
  /** Sends a user the requests that the user is allowed to see with the new role. */
  roleChanged (room: LocalRoom, userId: UserId): void
  left (room: LocalRoom, session: Session): void
  closed (room: LocalRoom): void
  /** Looks up the hosts of a room whose members joined while the feature was off. */
  hydrate (room: LocalRoom): void
  /** Cancels delayed events. The next generation of the feature sends the changes. */
  close (): void
}

/** The audience of each room. Kept across reloads. */
export type RequestAudiences = WeakMap<LocalRoom, RequestAudience>

/** A room's seat requests as they were last sent, and the members on this server who receive them. */
interface RequestAudience {
  /** The requests that were last sent. */
  delivered: readonly SeatRequestView[]
  /** Members who are known to be the owner or an admin. */
  readonly hosts: Set<Session>
  /**
   * Members whose join reply waits until their role has been looked up. The reply will contain the requests, so these
   * members need no event yet.
   */
  readonly pendingJoiners: Set<Session>
  /** Hosts whose role is being checked. */
  readonly roleChecks: Set<Session>
}

/**
 * How long to wait while a member's role is looked up, in milliseconds. After that, the server guesses the role from
 * local data. If the guess was wrong, the member receives an update.
 */
const timeoutMs = 500

/** Length of a window, in milliseconds. A room's requests are sent at most {@link maxPerWindow} times per window. */
const windowMs = 1000
const maxPerWindow = 10

/**
 * Maximum size of the requests in a join reply, in bytes. If the requests are larger, an event with the requests
 * follows the reply.
 */
const maxJoinBytes = 16_384

const isHost = (role: Role) => role !== 'member'
const isOwn = (session: Session) => ({ userId }: SeatRequestView) => userKeyOf(userId) === session.userKey
const identityOf = ({ userId, requestedAt, position }: SeatRequestView) => `${position} ${requestedAt} ${userKeyOf(userId)}`

export function createSeatRequests ({ log, rooms, sockets }: Pick<FeatureInstance, 'log' | 'rooms' | 'sockets'>, state: Pick<SeatStateHandle, 'peek'>, audiences: RequestAudiences): SeatRequests {
  /**
   * For each room, how often requests were sent in the current window, and the timer that sends waiting changes when
   * the window ends.
   */
  const windows = new WeakMap<LocalRoom, { since: number, sent: number, timer: NodeJS.Timeout | undefined }>()
  const timers = new Set<NodeJS.Timeout>()

  function audienceOf (room: LocalRoom): RequestAudience {
    const audience = audiences.get(room) ?? {
      delivered: viewOfRequests(state.peek(room.roomId)),
      hosts: new Set(),
      pendingJoiners: new Set(),
      roleChecks: new Set()
    }
    audiences.set(room, audience)
    return audience
  }

  /** Guesses a member's role from local data, without asking the backend. */
  const guessRole = (room: LocalRoom, session: Session): Role =>
    audienceOf(room).hosts.has(session) ? 'admin' : rooms.defaultRoleOf(room.record, session)

  /** Looks up a member's role. If the backend fails, guesses the role. The backend's answers are cached. */
  const fetchRole = (room: LocalRoom, session: Session): Promise<Role> => rooms.roleOf(room.record, session).catch((err: unknown) => {
    log.debug({ err, roomId: room.roomId }, 'role lookup failed, using the owner and roles stored on this server')
    return guessRole(room, session)
  })

  /** @returns the role; undefined if the lookup takes longer than {@link timeoutMs} */
  const inTime = (role: Promise<Role>): Promise<Role | undefined> => withTimeout(role, timeoutMs, () => undefined)

  const requestsEvent = (roomId: string, requests: readonly SeatRequestView[]) =>
    createEvent('seat:requests', { roomId, requests: fitting(requests, maxPageBytes) } satisfies z.input<(typeof events)['seat:requests']>)

  function sendOwn (room: LocalRoom, { delivered }: RequestAudience, session: Session): void {
    rooms.sendTo(room, session, requestsEvent(room.roomId, delivered.filter(isOwn(session))))
  }

  /**
   * Stores a member's role. If the role changes which requests the member is allowed to see, sends those requests to
   * the member.
   */
  function updateRole (room: LocalRoom, session: Session, role: Role): void {
    const audience = audienceOf(room)
    const { hosts, delivered } = audience
    if (!room.members.has(session) || isHost(role) === hosts.has(session)) return
    if (!isHost(role)) {
      hosts.delete(session)
      return sendOwn(room, audience, session)
    }
    hosts.add(session)
    if (!delivered.every(isOwn(session))) rooms.sendTo(room, session, requestsEvent(room.roomId, delivered))
  }

  /** Checks the hosts' roles, and sends all requests to the sessions that are still hosts. */
  async function sendToHosts (room: LocalRoom, audience: RequestAudience, hosts: readonly Session[]): Promise<void> {
    // A role check that is already in progress sends the latest requests when it ends.
    const unchecked = hosts.filter((session) => !audience.roleChecks.has(session))
    let event: OutgoingEvent | undefined
    let encoded: readonly SeatRequestView[] | undefined
    await Promise.all(unchecked.map(async (session) => {
      audience.roleChecks.add(session)
      const lookup = fetchRole(room, session)
      const role = await inTime(lookup)
      audience.roleChecks.delete(session)
      if (role === undefined) lookup.then((late) => updateRole(room, session, late))
      if (audience.pendingJoiners.has(session) || !audience.hosts.has(session)) return
      if (role === 'member') return updateRole(room, session, role)
      if (!event || encoded !== audience.delivered) {
        encoded = audience.delivered
        event = requestsEvent(room.roomId, encoded)
      }
      rooms.sendTo(room, session, event)
    }))
  }

  /** @returns true if a room's requests can be sent now; otherwise, a timer sends them later */
  function mayPublish (room: LocalRoom): boolean {
    const now = performance.now()
    const known = windows.get(room)
    if (known?.timer) return false
    const window = known && now - known.since < windowMs ? known : { since: now, sent: 0, timer: undefined }
    windows.set(room, window)
    if (window.sent++ < maxPerWindow) return true
    const timer = setTimeout(() => {
      timers.delete(timer)
      windows.delete(room)
      if (rooms.get(room.roomId) === room) publish(room, state.peek(room.roomId))
    }, window.since + windowMs - now).unref()
    window.timer = timer
    timers.add(timer)
    return false
  }

  function publish (room: LocalRoom, state: SeatState | undefined): void {
    const audience = audienceOf(room)
    const current = viewOfRequests(state)
    // The symmetric difference: the requests that were added or removed.
    const changed = new Map(audience.delivered.map((request) => [identityOf(request), request]))
    for (const request of current) if (!changed.delete(identityOf(request))) changed.set(identityOf(request), request)
    if (changed.size === 0 || !mayPublish(room)) return
    audience.delivered = current
    const { pendingJoiners, hosts } = audience
    for (const userKey of new Set([...changed.values()].map(({ userId }) => userKeyOf(userId)))) {
      for (const session of sockets.ofUser(userKey)) {
        if (session.roomId === room.roomId && !hosts.has(session) && !pendingJoiners.has(session)) sendOwn(room, audience, session)
      }
    }
    sendToHosts(room, audience, [...hosts])
  }

  /**
   * @returns the requests for a host's join reply. If the list does not fit into the reply, an event with a longer list
   *   follows
   */
  function forReply (room: LocalRoom, session: Session, { delivered }: RequestAudience): SeatRequestView[] {
    const fit = fitting(delivered, maxJoinBytes)
    if (fit.length < delivered.length) rooms.sendTo(room, session, requestsEvent(room.roomId, delivered))
    return fit
  }

  function checkRoles (room: LocalRoom, userId: UserId): void {
    for (const session of sockets.ofUser(userKeyOf(userId))) {
      if (room.members.has(session)) rooms.roleOf(room.record, session).then((role) => updateRole(room, session, role), () => { /* The next request that needs the role looks up the role again. */ })
    }
  }

  return {
    async joinSnapshot (room, session) {
      const audience = audienceOf(room)
      const { pendingJoiners, hosts } = audience
      // Other join hooks look up the same role. Lookups are cached, so the backend is called only once.
      const lookup = fetchRole(room, session)
      if (audience.delivered.every(isOwn(session))) {
        // No other member has a request, so every role sees the same list, and the reply need not wait for the role.
        lookup.then((role) => updateRole(room, session, role))
        return [...audience.delivered]
      }
      pendingJoiners.add(session)
      const answer = await inTime(lookup)
      pendingJoiners.delete(session)
      const role = answer ?? guessRole(room, session)
      if (isHost(role) && room.members.has(session)) hosts.add(session)
      else hosts.delete(session)
      if (answer === undefined) lookup.then((late) => updateRole(room, session, late))
      return isHost(role) ? forReply(room, session, audience) : audience.delivered.filter(isOwn(session))
    },
    publish,
    updateRole,
    ownerChanged: (room, ...owners) => owners.forEach((userId) => checkRoles(room, userId)),
    roleChanged: checkRoles,
    left (room, session) {
      const { pendingJoiners, hosts } = audienceOf(room)
      pendingJoiners.delete(session)
      hosts.delete(session)
    },
    closed (room) {
      audiences.delete(room)
    },
    close () {
      for (const timer of timers) clearTimeout(timer)
    },
    hydrate (room) {
      // Look up only the roles of members who are hosts according to local data, because thousands of lookups would
      // overload the backend. Admins who are known only to the backend receive requests after they rejoin or send a
      // command that requires a role. Clients rejoin when a feature is enabled.
      for (const session of room.members) {
        if (isHost(rooms.defaultRoleOf(room.record, session))) fetchRole(room, session).then((role) => updateRole(room, session, role))
      }
    }
  }
}
