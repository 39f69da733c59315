import type { FastifyInstance } from 'fastify'
import { leaseMs } from '../store/store.ts'
import type { RoomKeeping } from './membership.ts'

const tickMs = 1000
// What is asked for in one round trip.
const batch = 500

/**
 * What must happen without anybody asking: this server's sign of life, members
 * of servers that died, and setting the store right after it was
 * away. One tick follows the end of the one before.
 *
 * @returns a function that stops it
 */
export function keepRooms (app: FastifyInstance, rooms: RoomKeeping): () => Promise<void> {
  const { bus, log, nodeId, store } = app
  let lookedForDead = -Infinity
  let warned = false
  let busy = false
  let stopped = false

  bus.onHealed(() => rooms.writeBack.mark())

  /** On a timer of its own: nothing that takes long may cost this server its lease. */
  async function heartbeat () {
    // Where the lease had lapsed, others may have taken our members out.
    if (!await store.heartbeat()) rooms.writeBack.mark()
  }

  async function removeDead () {
    if (performance.now() - lookedForDead < leaseMs / 3) return
    lookedForDead = performance.now()
    for (const dead of await store.listDeadNodes()) {
      log.warn({ node: dead }, 'a server is gone; its members leave their rooms')
      for (const roomId of await store.listNodeRooms(dead)) rooms.announce(roomId, await store.dropShare(dead, roomId))
      await store.forgetNode(dead)
    }
  }

  /** Makes the store know of this server's rooms what this server knows. */
  async function setRight () {
    const { everywhere, roomIds } = rooms.writeBack.take()
    try {
      if (everywhere) await setAllRight()
      else {
        for (const roomId of roomIds) {
          const room = rooms.get(roomId)
          if (room) await rooms.writeBack.setRight(room)
        }
      }
    } catch (err) {
      if (everywhere) rooms.writeBack.mark()
      for (const roomId of roomIds) rooms.writeBack.mark(roomId)
      throw err
    }
  }

  async function setAllRight () {
    for (const roomId of await store.listNodeRooms(nodeId)) {
      if (!rooms.get(roomId)) rooms.announce(roomId, await store.dropShare(nodeId, roomId))
    }
    for (const room of rooms.local()) await rooms.writeBack.setRight(room)
    const sessions = [...app.sockets.all()]
    for (let i = 0; i < sessions.length; i += batch) {
      await Promise.all(sessions.slice(i, i + batch).map((session) =>
        store.putSession(session.userKey, { sessionId: session.id, nodeId, roomId: session.roomId, connectedAt: session.connectedAt })))
    }
  }

  async function tick () {
    if (busy || stopped) return
    busy = true
    try {
      await removeDead()
      await setRight()
      warned = false
    } catch (err) {
      if (!warned) log.warn({ err }, 'rooms are not looked after while the store is away')
      warned = true
    } finally {
      busy = false
    }
  }

  const beat = () => { heartbeat().catch(() => { /* The next tick warns. */ }) }
  beat()
  let current = tick()
  const heart = setInterval(beat, leaseMs / 3)
  const timer = setInterval(() => { if (!busy) current = tick() }, tickMs)
  return async () => {
    stopped = true
    clearInterval(heart)
    clearInterval(timer)
    await current
  }
}
