import type { FastifyInstance } from 'fastify'
import type { OutgoingEvent } from '../connections/face.ts'
import type { Session, UserId } from '../connections/session.ts'
import type { RoomRecord } from '../store/types.ts'
import { channelOf, parseMessage } from './channel.ts'
import type { Closing } from './closing.ts'
import { notInRoom } from './errors.ts'
import type { MemberLists } from './member-lists.ts'
import type { RoomStateKernel } from './room-state.ts'
import type { Unsynced } from './sync.ts'

/** An event that is queued for a joining socket until the join reply is sent. */
export interface WaitingEvent {
  event: OutgoingEvent
  /** The state change that caused the event. The join reply may already include this change. */
  change?: StateChange | undefined
  /** True if only members on this server receive the event; see `EmitOptions.local`. */
  isLocal: boolean
}

export interface StateChange {
  name: string
  version: string
  /** True if the event makes up for changes that members missed; see `StateDelivery.sendMissed`. */
  missed: boolean
}

/** The users who are in a room according to the replies and events that the members on this server have received. */
export interface KnownUsers {
  /**
   * Users by user key. `toAll` is false if only some members know the user: a later join reply contained a user whom no
   * event has announced, or did not contain a user whom earlier replies or events contained.
   */
  readonly users: Map<string, { userId: UserId, toAll: boolean }>
  /**
   * False if the members may know more users, for example because the first join reply on this server contained only the
   * first users of the room.
   */
  complete: boolean
  /**
   * Until this time (`performance.now()`), a complete list can lack users whom the members still know: these users left
   * just before the list was read from the store, and the members have not received the events yet.
   */
  settledAt: number
  /** User keys of the users whose leaves the members have received while the list was incomplete or before `settledAt`. */
  readonly gone: Set<string>
}

export const noKnownUsers = (): KnownUsers => ({ users: new Map(), complete: false, settledAt: 0, gone: new Set() })

/** A room's data on this server, which includes the room's sockets on this server. */
export interface LocalRoom {
  readonly roomId: string
  record: RoomRecord
  /** Set if the room is locked. If the store loses the room, this server restores it with this hash. */
  pinHash: string | undefined
  readonly members: Set<Session>
  /** The sockets whose join is in flight, and for each socket the events to send after the join reply. */
  readonly joining: Map<Session, WaitingEvent[]>
  /** The users whom the members on this server know; see {@link MemberLists}. */
  known: KnownUsers
  /** All rooms with this name that were created at or before this time are closed. Epoch milliseconds. */
  closedUpTo: number
}

declare module '../connections/session.ts' {
  interface SessionRoom extends LocalRoom {}
}

/** Writes an event to every member on this server, and queues the event for sockets whose join is in flight. */
export function deliver (room: LocalRoom, event: OutgoingEvent, { except, isLocal = false }: { except?: string | undefined, isLocal?: boolean } = {}): void {
  for (const session of audience(room)) if (session.id !== except) deliverTo(room, session, event, undefined, isLocal)
}

/** The room's members and joining sockets on this server. */
export function audience ({ members, joining }: LocalRoom): ReadonlySet<Session> {
  return joining.size === 0 ? members : members.union(joining)
}

/**
 * Writes an event to one socket of the {@link audience}. While the socket's join is in flight, queues the event
 * instead.
 */
export function deliverTo ({ joining }: LocalRoom, session: Session, event: OutgoingEvent, change?: StateChange, isLocal = false): void {
  const waiting = joining.get(session)
  if (waiting) waiting.push({ event, change, isLocal })
  else session.write(event)
}

/** The rooms that have members or joining sockets on this server. */
export interface NodeRooms {
  readonly size: number
  /**
   * Ids of the rooms for which the store has not replied to a request, including rooms that this server has removed.
   * Until the next sync, the store may list sessions of this server that are not in the room.
   */
  readonly uncertain: Set<string>
  get (roomId: string): LocalRoom | undefined
  all (): IterableIterator<LocalRoom>
  /**
   * @param roomId the room that the request names. Default: the socket's room
   * @throws NOT_IN_ROOM if the socket is in no room or in a different room
   */
  ofSession (session: Session, roomId?: string): LocalRoom
  /** @returns the room's {@link LocalRoom}. If the room has none, creates one and subscribes to the room's channel */
  acquire (roomId: string): LocalRoom
  /** Resolves when the subscription is active. */
  subscribed (roomId: string): Promise<void>
  /**
   * Removes a {@link LocalRoom} and its subscription if the room has no members and no joining sockets on this server.
   *
   * @param confirmed true if the store has replied to the last request about the room. If not, the request may still
   *   take effect. Until the next sync, the room then stays in the store's list of this server's rooms, even if it is
   *   removed here
   */
  release (room: LocalRoom, confirmed?: boolean): void
  /** Sets the handlers for messages that are not events. Call this once, before the first room is acquired. */
  handleWith (handlers: RoomHandlers): void
}

export interface RoomHandlers {
  /** Called after the room is closed. */
  closed: Closing['closeHere']
  /** Called after the room's state changes. */
  state: RoomStateKernel['applyRemote']
  /** Called when the room's {@link LocalRoom} is removed. */
  released (roomId: string): void
}

export function createNodeRooms ({ bus, hooks, nodeId, store }: Pick<FastifyInstance, 'bus' | 'hooks' | 'nodeId' | 'store'>, unsynced: Unsynced, memberLists: MemberLists): NodeRooms {
  interface Entry { room: LocalRoom, subscribed: Promise<void>, handler: (message: string) => void }
  const entries = new Map<string, Entry>()
  const uncertain = new Set<string>()
  let handlers: RoomHandlers

  function receive (room: LocalRoom, text: string): void {
    const message = parseMessage(text)
    switch (message.kind) {
      case 'event':
        if (memberLists.announced(room, message.event)) return deliver(room, message.event, { except: message.except })
        // The reply to a join in flight may list the user, although the members know that the user has left.
        for (const session of room.joining.keys()) deliverTo(room, session, message.event)
        return
      case 'state': return handlers.state(room, message.header, message.version, message.events)
      case 'closed': return handlers.closed(room, message.createdAt, message.reason, message.event)
      case 'node':
        if (message.from !== nodeId) hooks.emit('room:nodeMessage', room.roomId, message.topic, message.data)
        return
      case 'restored':
        // Sync the room: this server's state may be newer than the restored state, and members on this server may have
        // missed events.
        if (message.nodeId === nodeId) return
        unsynced.add(room.roomId)
        memberLists.checkLater(room)
    }
  }

  return {
    uncertain,
    get size () {
      return entries.size
    },
    get: (roomId) => entries.get(roomId)?.room,
    all: () => entries.values().map(({ room }) => room),
    ofSession ({ room }, roomId = room?.roomId) {
      if (!room || roomId !== room.roomId) throw notInRoom(roomId)
      return room
    },
    acquire (roomId) {
      const known = entries.get(roomId)
      if (known) return known.room
      const room: LocalRoom = {
        roomId,
        record: { roomId, ownerId: '', createdAt: 0, options: {}, locked: false },
        pinHash: undefined,
        members: new Set(),
        joining: new Map(),
        known: noKnownUsers(),
        closedUpTo: -1
      }
      const handler = (message: string) => {
        if (entries.get(roomId)?.room === room) receive(room, message)
      }
      const entry: Entry = { room, subscribed: Promise.resolve(), handler }
      entries.set(roomId, entry)
      entry.subscribed = bus.subscribe(channelOf(roomId), handler)
      return room
    },
    subscribed: async (roomId) => entries.get(roomId)?.subscribed,
    release (room, confirmed = true) {
      const { roomId, members, joining } = room
      const entry = entries.get(roomId)
      if (!confirmed) uncertain.add(roomId)
      if (members.size + joining.size > 0 || entry?.room !== room) return
      entries.delete(roomId)
      handlers.released(roomId)
      hooks.emit('room:released', roomId)
      bus.unsubscribe(channelOf(roomId), entry.handler)
      if (uncertain.has(roomId)) unsynced.add()
      else store.releaseRoom(roomId).catch(() => unsynced.add())
    },
    handleWith (given) {
      handlers = given
    }
  }
}
