import type { FastifyInstance } from 'fastify'
import { createEvent } from '../connections/face.ts'
import { sharedLog } from '../store/store.ts'
import { createAnnouncements } from './announcements.ts'
import { channelOf, createRoomChannel, nodeMessage } from './channel.ts'
import { createClosing } from './closing.ts'
import { createDetails } from './details.ts'
import { createMemberLists } from './member-lists.ts'
import type { MemberLists } from './member-lists.ts'
import { createMembership } from './membership.ts'
import type { Membership } from './membership.ts'
import { audience, createNodeRooms, deliver, deliverTo } from './node-rooms.ts'
import { createOwnership } from './ownership.ts'
import { createPinAccess } from './pin-access.ts'
import { createPinLimits } from './pin-limits.ts'
import { createPinCheck } from './pins.ts'
import { startReconciler } from './reconciler.ts'
import { createRoomState } from './room-state.ts'
import { createOverviews } from './overviews.ts'
import { createRoles } from './roles.ts'
import { assertHasOwner } from './rooms.ts'
import type { Rooms } from './rooms.ts'
import { createSessionRecords } from './session-records.ts'
import type { SessionRecords } from './session-records.ts'
import { createRoomSync, createUnsynced } from './sync.ts'

/** The {@link Rooms} API, and functions that only the rooms plugin uses. */
export interface RoomsKernel {
  rooms: Rooms
  membership: Membership
  sessionRecords: SessionRecords
  memberLists: MemberLists
  /** Stops the reconciler and publishes pending announcements. All sessions must already be closed. */
  stop (): Promise<void>
}

/** Creates the {@link Rooms} API from its parts. */
export function createRooms (app: FastifyInstance): RoomsKernel {
  const { store } = app
  const unsynced = createUnsynced()
  const channel = createRoomChannel(app)
  const memberLists = createMemberLists(app, unsynced)
  const nodeRooms = createNodeRooms(app, unsynced, memberLists)
  const roomState = createRoomState(app, { nodeRooms, unsynced })
  const announcements = createAnnouncements(app, channel, (roomId) => {
    const members = nodeRooms.get(roomId)?.members ?? []
    return [...members].some(({ queuedBytes }) => queuedBytes > app.config.WS_MAX_QUEUE_BYTES / 4)
  })
  const sessionRecords = createSessionRecords(app, unsynced)
  const closing = createClosing(app, { nodeRooms, roomState, announcements, sessionRecords })
  nodeRooms.handleWith({ closed: closing.closeHere, state: roomState.applyRemote, released: roomState.forget })
  const ownership = createOwnership(app, { nodeRooms, roomState })
  const details = createDetails(app, roomState)
  const { isHost, ...roles } = createRoles(app, nodeRooms, ownership)
  const sync = createRoomSync(app, { unsynced, nodeRooms, roomState, announcements, closing })
  const pins = createPinCheck()
  const pinLimits = createPinLimits()
  const membership = createMembership(app, { unsynced, nodeRooms, memberLists, roomState, announcements, closing, ownership, details, isHost, sessionRecords, sync, pins, pinLimits })
  const stopReconciler = startReconciler(app, { unsynced, nodeRooms, memberLists, announcements, sessionRecords, sync, announceUnconfirmed: membership.announceUnconfirmed })

  const rooms: Rooms = {
    get size () {
      return nodeRooms.size
    },
    get: nodeRooms.get,
    local: nodeRooms.all,
    ofSession: nodeRooms.ofSession,
    roomState,
    forFeature: (feature, ...args) => Object.create(rooms, {
      roomState: { value: roomState.forFeature(feature, ...args) },
      emitLogged: { value: (...event: Parameters<Rooms['emitLogged']>) => channel.publishLogged(feature, ...event) },
      emitUnlogged: { value: (...event: Parameters<Rooms['emitUnlogged']>) => channel.publishUnlogged(feature, ...event) }
    }) as Rooms,
    ...roles,
    defaultOwnerOf: ownership.peek,
    ownersOf: async (rooms) => (await ownership.read(rooms)).map(({ ownerId }) => ownerId),
    overviewsOf: createOverviews(store, ownership, details),
    detailsOf: details.peek,
    ...createPinAccess({ store, details, pins, limits: pinLimits }),
    update: details.update,
    async lock (room, pin) {
      assertHasOwner(room)
      return await details.lock(room, pin)
    },
    unlock: details.unlock,
    reviewOwner: ownership.review,
    touch (roomId) {
      store.touchRoom(roomId, app.clock.now()).catch(() => { /* Until the next update, admins see an outdated `lastActivityAt`. */ })
    },
    join: membership.join,
    leave: membership.leave,
    emit (roomId, type, data, { except, local = false } = {}) {
      if (!local) {
        channel.publish(roomId, type, data, except)
        return
      }
      const event = createEvent(type, { roomId, ...data })
      app.messages.checkEvent(type, event.data)
      const room = nodeRooms.get(roomId)
      if (room) deliver(room, event, { except, isLocal: true })
    },
    sendToNodes (roomId, topic, data) {
      app.bus.publish(channelOf(roomId), nodeMessage({ from: app.nodeId, topic, data })).catch((err: unknown) => app.log.error({ err, roomId }, 'failed to publish to a room'))
    },
    sendHere (roomId, event) {
      app.messages.checkEvent(event.type, event.data)
      const room = nodeRooms.get(roomId)
      if (!room || audience(room).size === 0) return false
      deliver(room, event)
      return true
    },
    sendTo (room, session, event) {
      app.messages.checkEvent(event.type, event.data)
      deliverTo(room, session, event)
    },
    emitLogged: (...event) => channel.publishLogged(sharedLog, ...event),
    emitUnlogged: (...event) => channel.publishUnlogged(sharedLog, ...event),
    close: closing.close,
    kick: closing.kick,
    kickHere: closing.kickHere
  }

  return {
    rooms,
    membership,
    sessionRecords,
    memberLists,
    async stop () {
      await stopReconciler()
      await membership.settled()
      await ownership.stop()
      await announcements.close()
    }
  }
}
