import { createHash } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import type { z } from 'zod'
import { isCoded, unavailable } from '../errors/codes.ts'
import { createEvent, eventFromText } from '../connections/event.ts'
import type { Session } from '../connections/session.ts'
import { userKeyOf } from '../connections/user.ts'
import type { Profile, UserId } from '../connections/user.ts'
import type { JoinCommand, JoinResult, RoomRecord, ShareChange } from '../store/store.ts'
import { createDocuments } from './room-state.ts'
import type { DocumentHeader, DocumentKeeping } from './room-state.ts'
import { NotInRoom, RoomNotFound } from './errors.ts'
import { deliver, deliverTo } from './local-room.ts'
import type { LocalRoom } from './local-room.ts'
import { closeReason } from './messages.ts'
import type { events, RoomCloseReason } from './messages.ts'
import { createPresence, presenceIntervalMs } from './presence.ts'
import { roleByRecord } from './rooms.ts'
import type { EmitOptions, LeaveReason, Rooms } from './rooms.ts'
import { createWriteBack } from './write-back.ts'
import type { WriteBack } from './write-back.ts'

/** First line of a message on a room's channel; the event's text is the rest, unless it says otherwise. */
interface RoomHeader {
  except?: string | undefined
  /** The room is closed: why. One line more says which one of that name it was. */
  closed?: RoomCloseReason
  /** A document has changed; the rest are its events, one a line. */
  document?: DocumentHeader
  /** The store had lost the room, or something of it, and this server has written back what it knows. */
  restoredBy?: string
}

type Data<T extends keyof typeof events> = Omit<z.input<(typeof events)[T]>, 'roomId'>

const closedText = (roomId: string, reason: RoomCloseReason) =>
  createEvent('room:closed', { roomId, reason: closeReason.parse(reason), timestamp: Date.now() }).text

/** The job's name for seeing to it that all who must know hear of a room that is closed. */
const closedJob = 'room-closed'
/** By then whoever closed a room has told of it, in milliseconds. */
const makeSureMs = 3000

const messageOf = (header: RoomHeader, text: string) => `${JSON.stringify(header)}\n${text}`

const channelOf = (roomId: string) => `room:${roomId}`

export function hashPin (roomId: string, pin: string): string {
  return createHash('sha256').update(`${roomId}:${pin}`).digest('hex')
}

/** What the rooms plugin needs besides {@link Rooms} itself, to look after them. */
export interface RoomKeeping extends Rooms {
  readonly roomState: DocumentKeeping
  /** Tells a room of users whose membership another server or a correction ended or restored. */
  announce (roomId: string, change: ShareChange): void
  readonly writeBack: WriteBack
  /** A socket is gone. */
  disconnected (session: Session): void
  /** Waits for what is still to be told to the store. */
  stop (): Promise<void>
}

export function createRooms (app: FastifyInstance): RoomKeeping {
  const { jobs, bus, config, cluster, hooks, log, nodeId, store } = app
  const rooms = new Map<string, LocalRoom>()
  const leaving = new Set<Promise<void>>()
  const channels = new Map<string, { ready: Promise<void>, handler: (message: string) => void }>()
  const documents = createDocuments(app, (roomId) => rooms.get(roomId), channelOf, (roomId) => writeBack.mark(roomId))
  const writeBack = createWriteBack(app, {
    documents,
    envelopeFor: (roomId) => bus.envelope(channelOf(roomId), messageOf({ restoredBy: nodeId }, '')),
    announce,
    ended: (room) => endHere(room, room.record.createdAt, closedText(room.roomId, 'closed_by_admin'), 'closed_by_admin')
  })
  // Why no room was made, where it was not the store that said so.
  const notOfStore = new WeakSet<Error>()

  const presence = createPresence(
    (roomId) => store.claim(`presence:${roomId}`, presenceIntervalMs),
    (roomId, change) => emit(roomId, 'room:presence', change satisfies Data<'room:presence'>)
  )

  function emit (roomId: string, type: string, data: object, { except, local = false }: EmitOptions = {}): void {
    const event = createEvent(type, { roomId, ...data })
    if (local) {
      const room = rooms.get(roomId)
      if (room) deliver(room, event, except)
      return
    }
    publish(roomId, { except }, event.text)
  }

  function publish (roomId: string, header: RoomHeader, text: string): void {
    bus.publish(channelOf(roomId), messageOf(header, text))
      .catch((err: unknown) => log.error({ err, roomId }, 'publishing failed'))
  }

  async function emitLogged (roomId: string, type: string, data: object, { entry, keep }: { entry: string, keep: number }): Promise<void> {
    const message = messageOf({}, createEvent(type, { roomId, ...data }).text)
    await bus.publish(channelOf(roomId), message, (envelope) => store.appendLog(roomId, entry, keep, Date.now(), envelope))
  }

  function receive (roomId: string, message: string): void {
    const room = rooms.get(roomId)
    if (!room) return
    const end = message.indexOf('\n')
    const header = JSON.parse(message.slice(0, end)) as RoomHeader
    const rest = message.slice(end + 1)
    if (header.closed) {
      const [text = '', createdAt] = rest.split('\n')
      return endHere(room, Number(createdAt), text, header.closed)
    }
    if (header.document) return documents.heard(room, header.document, rest)
    if (header.restoredBy !== undefined) {
      // This server may know more, and its members may have missed something.
      if (header.restoredBy !== nodeId) writeBack.mark(roomId)
      return
    }
    deliver(room, eventFromText(rest), header.except)
  }

  /** Tells the members here that the room made at that time has ended, and lets them go. */
  function endHere (room: LocalRoom, createdAt: number, text: string, reason: RoomCloseReason): void {
    room.closedUpTo = Math.max(room.closedUpTo, createdAt)
    // A new room of that name has nothing to do with it, nor has who is coming into one.
    if (room.record.createdAt > createdAt) return
    const event = eventFromText(text)
    for (const session of room.members) deliverTo(room, session, event)
    detachAll(room, reason)
  }

  /** A room's local part, made when it is not there, with its channel being listened to. */
  function acquire (roomId: string): LocalRoom {
    const known = rooms.get(roomId)
    if (known) return known
    const room: LocalRoom = {
      roomId,
      record: { roomId, ownerId: '', createdAt: 0, seatCount: 0, locked: false },
      pinHash: undefined,
      members: new Set(),
      joining: new Map(),
      closedUpTo: -1
    }
    const handler = (message: string) => receive(roomId, message)
    rooms.set(roomId, room)
    channels.set(roomId, { ready: bus.subscribe(channelOf(roomId), handler), handler })
    return room
  }

  /**
   * Drops a room's local part when nobody here is in it or coming in.
   *
   * @param answered whether the store has answered the last that was asked of it: what it
   *   has not, it may do all the same. Then the room stays on this server's list, and is set right
   */
  function release (room: LocalRoom, answered = true): void {
    if (room.members.size + room.joining.size > 0 || rooms.get(room.roomId) !== room) return
    rooms.delete(room.roomId)
    documents.forget(room.roomId)
    const channel = channels.get(room.roomId)
    channels.delete(room.roomId)
    if (channel) bus.unsubscribe(channelOf(room.roomId), channel.handler)
    if (answered) store.releaseRoom(room.roomId).catch(() => writeBack.mark())
    else writeBack.mark()
  }

  function detachAll (room: LocalRoom, reason: RoomCloseReason): void {
    presence.forget(room.roomId)
    documents.forget(room.roomId)
    for (const session of room.members) {
      hooks.emit('room:leave', room, session, 'closed')
      session.roomId = null
      record(session)
    }
    room.members.clear()
    hooks.emit('room:close', room, reason)
    release(room)
  }

  /** Notes where a session is, for user:getRoom and admins. */
  function record (session: Session): void {
    if (!session.open) return
    store.putSession(session.userKey, { sessionId: session.id, nodeId, roomId: session.roomId, connectedAt: session.connectedAt })
      .catch(() => writeBack.mark())
  }

  function announceJoin (roomId: string, user: Profile, count: number, except?: string): void {
    hooks.emit('room:userJoined', roomId, user, count)
    if (count > config.PRESENCE_COALESCE_OVER || presence.pending(roomId)) return presence.joined(roomId, user, count)
    emit(roomId, 'room:userJoined', { userId: user.userId, user } satisfies Data<'room:userJoined'>, except === undefined ? {} : { except })
  }

  /** Tells those who hear on behalf of all servers, and the room. */
  function announceLeave (roomId: string, userId: UserId, reason: LeaveReason, count: number): void {
    hooks.emit('room:userLeft', roomId, { userId, userKey: userKeyOf(userId) }, reason, count)
    tellLeave(roomId, userId, count)
  }

  function tellLeave (roomId: string, userId: UserId, count: number): void {
    // The one that leaves counted, too, when the room was over the limit.
    if (count + 1 > config.PRESENCE_COALESCE_OVER || presence.pending(roomId)) return presence.left(roomId, userId, count)
    emit(roomId, 'room:userLeft', { userId } satisfies Data<'room:userLeft'>)
  }

  async function join (session: Session, { roomId, seatCount, pin }: { roomId: string, seatCount: number, pin?: string | undefined }) {
    const room = acquire(roomId)
    const rejoining = room.members.has(session)
    const pinHash = pin === undefined ? undefined : hashPin(roomId, pin)
    const now = Date.now()
    room.joining.set(session, [])
    const settle = () => {
      const waiting = room.joining.get(session) ?? []
      room.joining.delete(session)
      return waiting
    }

    try {
      await channels.get(roomId)?.ready
      const command = { roomId, sessionId: session.id, userKey: session.userKey, profile: session.user.profile, limit: config.MAX_CLIENTS_PER_ROOM, pinHash, now }
      const result = await enter(room, command, session, seatCount)
      if (room.members.size > 0 && result.room.createdAt > room.record.createdAt) await hearOfEnd(room)
      // Only now: who is refused stays where they are.
      if (session.roomId !== roomId) await leave(session, 'moved')
      room.record = result.room
      if (result.room.locked) room.pinHash = pinHash
      room.members.add(session)
      session.roomId = roomId
      if (!session.open || result.room.createdAt <= room.closedUpTo) {
        await leave(session, 'disconnected')
        throw unavailable('The room or the connection was closed meanwhile')
      }
      record(session)
      const replied = documents.learn(room, result.documents)
      if (result.created) hooks.emit('room:created', result.room)
      if (result.firstOfUser) announceJoin(roomId, session.user.profile, result.count, session.id)
      const extra = await hooks.collect('room:join', room, session)
      return {
        room,
        result,
        extra,
        answered: () => { for (const event of documents.welcome(room, session, replied, settle())) session.write(event) }
      }
    } catch (error) {
      const missed = settle()
      if (rejoining) for (const { event } of missed) session.write(event)
      else if (session.roomId === roomId) await leave(session, 'left')
      const answered = !isCoded(error) || error.code !== 'UNAVAILABLE' || notOfStore.has(error)
      if (!answered) writeBack.mark()
      release(room, answered)
      throw error instanceof RoomNotFound && app.drain.draining ? unavailable('The server is shutting down: no new rooms', error) : error
    }
  }

  /** Members here are of an earlier room of that name: what told them of its end was published before a new one could be made. */
  async function hearOfEnd (room: LocalRoom): Promise<void> {
    const { createdAt } = room.record
    await bus.check().catch(() => { /* This server is deaf. */ })
    if (room.closedUpTo < createdAt) endHere(room, createdAt, closedText(room.roomId, 'closed_by_admin'), 'closed_by_admin')
  }

  function announce (roomId: string, { joined, left, count }: ShareChange): void {
    for (const user of joined) announceJoin(roomId, user, count)
    for (const user of left) announceLeave(roomId, user.userId, 'disconnected', count)
    hooks.emit('room:resynced', roomId)
  }

  /**
   * Lets a socket into the room that is there, or into one made for it. Whether
   * one may be made is only asked when there is none: who joins a room that is
   * there waits for nobody but the store.
   */
  async function enter (room: LocalRoom, command: Omit<JoinCommand, 'create'>, session: Session, seatCount: number): Promise<JoinResult> {
    const { roomId, now, pinHash } = command
    const make = (ownerId: UserId): RoomRecord => ({ roomId, ownerId, createdAt: now, seatCount, locked: pinHash !== undefined })
    const asks = hooks.has('room:create')
    if (asks || app.drain.draining || room.members.size > 0) {
      try {
        return await store.join(command)
      } catch (error) {
        if (!(error instanceof RoomNotFound)) throw error
        if (await writeBack.bringBack(room)) return await store.join(command)
        if (app.drain.draining) throw error
      }
    }
    const answers = await hooks.ask('room:create', roomId, session).catch((error: unknown) => {
      if (isCoded(error)) notOfStore.add(error)
      throw error
    })
    const ownerId = answers.find((answer) => answer !== undefined)?.ownerId ?? session.user.id
    return await store.join({ ...command, create: make(ownerId) })
  }

  async function leave (session: Session, reason: LeaveReason): Promise<void> {
    const { roomId } = session
    const room = roomId === null ? undefined : rooms.get(roomId)
    if (!room?.members.has(session)) return
    hooks.emit('room:leave', room, session, reason)
    room.members.delete(session)
    room.joining.delete(session)
    session.roomId = null
    record(session)
    let answered = true
    try {
      const result = await store.leave(room.roomId, session.id, session.userKey, Date.now())
      if (result?.lastOfUser === true) announceLeave(room.roomId, session.user.id, reason, result.count)
      if (!result) await leftUnknown(room, session)
    } catch (err) {
      // The room goes on here without the store, and the store is corrected
      // when it is back.
      writeBack.mark()
      answered = false
      log.warn({ err, roomId: room.roomId, sessionId: session.id }, 'the store did not hear of a leave')
      if (![...room.members].some((other) => other.userKey === session.userKey)) tellLeave(room.roomId, session.user.id, room.members.size)
    } finally {
      release(room, answered)
    }
  }

  /** Somebody has left whom the store did not know: it has lost the room, which goes on without them. */
  async function leftUnknown (room: LocalRoom, { user, userKey }: Session): Promise<void> {
    writeBack.mark(room.roomId)
    const [there] = await store.getMembers(room.roomId, [userKey])
    if (!there && ![...room.members].some((other) => other.userKey === userKey)) tellLeave(room.roomId, user.id, room.members.size)
  }

  // Whoever closed it may have died before it could say so.
  jobs.on(closedJob, async (roomId) => {
    if (await store.getRoom(roomId) === undefined) hooks.emit('room:resynced', roomId)
  })

  function kickHere (roomId: string, userKey: string): void {
    for (const session of app.sockets.ofUser(userKey)) {
      if (session.roomId === roomId || rooms.get(roomId)?.joining.has(session) === true) session.close('KICKED')
    }
  }
  cluster.on('room:kick', ({ roomId, userKey }) => kickHere(roomId, userKey))

  return {
    get size () {
      return rooms.size
    },
    get: (roomId) => rooms.get(roomId),
    local: () => rooms.values(),
    ofSession (session, roomId) {
      const room = session.roomId === null ? undefined : rooms.get(session.roomId)
      if (!room || (roomId !== undefined && roomId !== session.roomId)) throw new NotInRoom(roomId === undefined ? 'a room' : `the room ${roomId}`)
      return room
    },
    roomState: documents,
    async roleOf (room, session) {
      const known = (await hooks.ask('room:role', room, session)).find((role) => role !== undefined)
      return known ?? roleByRecord(room, session)
    },
    async ownerOf (room) {
      return (await hooks.ask('room:owner', room)).find((owner) => owner !== undefined) ?? room.ownerId
    },
    touch (roomId) {
      store.touchRoom(roomId, Date.now()).catch(() => { /* The next sign of life will be noted. */ })
    },
    join,
    leave,
    emit,
    emitLogged,
    async close (roomId, reason, onlyIfEmpty) {
      const message = messageOf({ closed: reason }, closedText(roomId, reason))
      const envelope = bus.envelope(channelOf(roomId), message)
      // In one turn, and so in one round trip.
      const [removed] = await Promise.all([
        store.removeRoom(roomId, onlyIfEmpty, envelope),
        jobs.schedule(closedJob, roomId, Date.now() + makeSureMs)
      ])
      if (!removed) return false
      if (!envelope) await bus.publish(channelOf(roomId), `${message}\n${removed.createdAt}`)
      hooks.emit('room:removed', removed, reason)
      return true
    },
    kickHere,
    async kick (roomId, userId, banUntil) {
      const userKey = userKeyOf(userId)
      if (banUntil !== undefined) await store.ban(roomId, userKey, banUntil)
      const told = await cluster.send('room:kick', { roomId, userKey })
      hooks.emit('room:kicked', roomId, userId)
      if (!told) throw unavailable('The other servers cannot be reached')
    },
    announce,
    writeBack,
    disconnected (session) {
      const done = leave(session, session.endedFor === 'KICKED' ? 'kicked' : 'disconnected').finally(() => leaving.delete(done))
      leaving.add(done)
    },
    async stop () {
      await Promise.all(leaving)
      presence.close()
    }
  } satisfies RoomKeeping
}
