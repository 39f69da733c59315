import type { FastifyInstance } from 'fastify'
import { leaseMs } from '../store/store.ts'
import type { RoomKeeping } from './rooms.ts'

const tickMs = 1000
const roomsATick = 50

/**
 * What must happen without anybody asking: this server's sign of life, members
 * of servers that died, empty rooms, and setting the store right after it was
 * away. One tick follows the end of the one before.
 *
 * @returns a function that stops it
 */
export function keepRooms (app: FastifyInstance, rooms: RoomKeeping): () => Promise<void> {
  const { bus, config, log, nodeId, store } = app
  let lastHeartbeat = -Infinity
  let warned = false

  bus.onHealed(() => rooms.markDirty())

  async function heartbeat () {
    if (performance.now() - lastHeartbeat < leaseMs / 3) return
    // Where the lease had lapsed, others may have taken our members out.
    if (!await store.heartbeat()) rooms.markDirty()
    lastHeartbeat = performance.now()
    for (const dead of await store.listDeadNodes()) {
      log.warn({ node: dead }, 'a server is gone; its members leave their rooms')
      for (const roomId of await store.listNodeRooms(dead)) rooms.announce(roomId, await store.dropShare(dead, roomId))
      await store.forgetNode(dead)
    }
  }

  /** Makes the store know of this server's members what this server knows. */
  async function setRight () {
    if (!rooms.takeDirty()) return
    try {
      for (const roomId of await store.listNodeRooms(nodeId)) {
        if (!rooms.get(roomId)) rooms.announce(roomId, await store.dropShare(nodeId, roomId))
      }
      for (const room of rooms.local()) {
        const members = [...room.members].map((session) => ({ sessionId: session.id, userKey: session.userKey, profile: session.user.profile }))
        if (members.length) rooms.announce(room.roomId, await store.replaceShare(nodeId, { room: room.record, pinHash: room.pinHash, members }))
      }
      for (const session of app.sockets.all()) {
        await store.putSession(session.userKey, { sessionId: session.id, nodeId, roomId: session.roomId, connectedAt: session.connectedAt })
      }
    } catch (err) {
      rooms.markDirty()
      throw err
    }
  }

  async function closeEmptyRooms () {
    const before = Date.now() - config.EMPTY_ROOM_SECONDS * 1000
    for (const roomId of await store.listEmptyRooms(before, roomsATick)) {
      if (await store.removeRoom(roomId, true)) rooms.announceClosed(roomId, 'inactivity')
      else await store.forgetEmptyRoom(roomId, before)
    }
  }

  async function tick () {
    try {
      await heartbeat()
      await setRight()
      await closeEmptyRooms()
      warned = false
    } catch (err) {
      if (!warned) log.warn({ err }, 'rooms are not looked after while the store is away')
      warned = true
    }
  }

  let current = tick()
  const timer = setInterval(() => { current = current.then(tick) }, tickMs)
  return async () => {
    clearInterval(timer)
    await current
  }
}
