import type { FastifyInstance } from 'fastify'
import type { Announcements } from './announcements.ts'
import type { MemberLists } from './member-lists.ts'
import type { Membership } from './membership.ts'
import type { NodeRooms } from './node-rooms.ts'
import type { SessionRecords } from './session-records.ts'
import type { RoomSync, Unsynced } from './sync.ts'

/** Number of session records to write per round trip. */
const batchSize = 500

export interface ReconcilerOptions {
  unsynced: Unsynced
  nodeRooms: NodeRooms
  memberLists: MemberLists
  announcements: Announcements
  sessionRecords: SessionRecords
  sync: RoomSync
  announceUnconfirmed: Membership['announceUnconfirmed']
}

/**
 * Renews this server's lease, removes the members of dead servers, and syncs unsynced and damaged rooms with the store.
 * A tick runs immediately and then every `reconcileIntervalMs`, unless the previous tick is still running. Members of
 * dead servers are removed only when this server is ready.
 *
 * @returns a function that stops the reconciler
 */
export function startReconciler (app: FastifyInstance, { unsynced, nodeRooms, memberLists, announcements, sessionRecords, sync, announceUnconfirmed }: ReconcilerOptions): () => Promise<void> {
  const { bus, directory, leases, log, nodeId, store, timings: { leaseMs, reconcileIntervalMs } } = app
  let checkedDeadAt = -Infinity
  let checkedRoomsAt = -Infinity
  let warned = false
  let busy = false
  let ready = false
  let stopped = false

  /** Renews the lease. Runs on its own timer, so that a long sync does not delay the heartbeat. */
  async function heartbeat () {
    // If the lease expired, sync everything, because other servers may have removed this server's members.
    if (!await leases.heartbeat()) unsynced.add()
  }

  async function removeDead () {
    if (performance.now() - checkedDeadAt < leaseMs / 3) return
    checkedDeadAt = performance.now()
    for (const dead of await leases.listDead()) {
      log.warn({ deadNode: dead }, 'removing the members of a dead server')
      for (const roomId of await store.listNodeRooms(dead)) {
        await app.hooks.ask('room:nodeRemoved', roomId, dead)
        await sync.drop(dead, roomId)
      }
      await directory.removeNode(dead)
      await Promise.all([leases.remove(dead), store.forgetNodeRooms(dead)])
    }
  }

  /** Finds rooms whose data is incomplete in Redis, because some of the room's keys were evicted or deleted. */
  async function findDamaged () {
    if (performance.now() - checkedRoomsAt < leaseMs / 3) return
    checkedRoomsAt = performance.now()
    const rooms = [...nodeRooms.all()].flatMap(({ roomId, members }) => [...members.values().take(1)].map((session) => ({ roomId, members, session })))
    const intact = await store.areIntact(rooms.map(({ roomId, session }) => ({ roomId, sessionId: session.id })))
    for (const [i, { roomId, members, session }] of rooms.entries()) {
      // If the session has left, it may have left before the check.
      if (intact[i] === true || !members.has(session)) continue
      log.warn({ roomId }, "the store has lost part of a room's data: restoring the room")
      unsynced.add(roomId)
    }
  }

  async function syncUnsynced () {
    const { all, roomIds } = unsynced.take()
    try {
      if (all) return await syncAll()
      for (const roomId of roomIds) {
        const room = nodeRooms.get(roomId)
        if (room) await sync.sync(room)
      }
    } catch (err) {
      if (all) unsynced.add()
      for (const roomId of roomIds) unsynced.add(roomId)
      throw err
    }
  }

  /** Removes this server's members from the rooms that this server no longer has. */
  async function dropOthers () {
    const others = [...nodeRooms.uncertain].filter((roomId) => !nodeRooms.get(roomId))
    for (const roomId of others) nodeRooms.uncertain.delete(roomId)
    try {
      for (const roomId of await store.listNodeRooms(nodeId)) {
        if (!nodeRooms.get(roomId)) await sync.drop(nodeId, roomId)
      }
    } catch (error) {
      for (const roomId of others) nodeRooms.uncertain.add(roomId)
      throw error
    }
  }

  async function syncAll () {
    await dropOthers()
    for (const room of nodeRooms.all()) await sync.sync(room)
    await sessionRecords.removeRest()
    const sessions = [...app.sockets.all()]
    for (let i = 0; i < sessions.length; i += batchSize) {
      await Promise.all(sessions.slice(i, i + batchSize).filter(({ open }) => open).map(sessionRecords.write))
    }
  }

  async function tick () {
    if (busy || stopped) return
    busy = true
    try {
      // Wait until all features have started, because a feature that starts later would miss the members' leaves.
      if (ready) await removeDead()
      await findDamaged()
      await syncUnsynced()
      await announceUnconfirmed()
      await announcements.reportMissed()
      await memberLists.check(announcements)
      warned = false
    } catch (err) {
      if (!warned) log.warn({ err }, 'store unavailable, rooms not synced')
      warned = true
    } finally {
      busy = false
    }
  }

  const beat = () => { heartbeat().catch(() => { /* The next tick logs the failure. */ }) }
  beat()
  let current = tick()
  const heart = setInterval(beat, leaseMs / 3)
  const next = () => { if (!busy) current = tick() }
  app.addHook('onReady', async () => {
    ready = true
    next()
  })
  const timer = setInterval(next, reconcileIntervalMs)
  bus.onHealed(() => {
    unsynced.add()
    for (const room of nodeRooms.all()) memberLists.checkLater(room)
    next()
  })
  return async () => {
    stopped = true
    clearInterval(heart)
    clearInterval(timer)
    await current
  }
}
