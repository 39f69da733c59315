import fp from 'fastify-plugin'
import { Forbidden, validationFailed } from '../errors/codes.ts'
import { keyBehind, maxPageBytes, pageOf } from '../schema/pages.ts'
import { userKeyOf } from '../connections/session.ts'
import { createRooms } from './create.ts'
import { describeParticipants, joinReply, shortenJoinReply } from './join-reply.ts'
import { events, requests } from './messages.ts'

/**
 * Maximum number of pages of participants that a user can request per minute. This number of pages is enough to list
 * many thousands of participants.
 */
const pagesPerMinute = 120

/** @throws VALIDATION_FAILED if the cursor does not come from an earlier reply */
function placeBehind (cursor: string | undefined): number {
  const key = keyBehind(cursor)
  if (!/^\d{0,16}$/.test(key)) throw validationFailed([{ path: ['cursor'], message: 'is not a cursor that the server returned' }])
  return Number(key)
}

/** Manages rooms, their members and their events. */
export default fp(async function rooms (app) {
  const { rooms, membership, sessionRecords, memberLists, stop } = createRooms(app)
  app.decorate('rooms', rooms)
  app.messages.events(events)

  app.messages.on('room:join', { ...requests['room:join'], room: false, exclusive: true, limit: { perMinute: app.config.JOINS_PER_MINUTE, eventual: true }, shorten: shortenJoinReply }, async ({ roomId, pin, title, topic, ...options }, { session, afterReply }) => {
    const joined = await rooms.join(session, { roomId, pin, title, topic, options })
    afterReply(joined.answered)
    return await joinReply(app, session, joined)
  })
  app.messages.on('room:leave', { ...requests['room:leave'], exclusive: true }, async (_data, { session }) => {
    await rooms.leave(session, 'left')
    return {}
  })
  app.messages.on('room:participants', { ...requests['room:participants'], limit: { perMinute: pagesPerMinute } }, async ({ cursor, limit }, { room }) => {
    const { arrivals, count } = await app.store.listParticipants(room.roomId, placeBehind(cursor), limit + 1)
    const { shown, nextCursor } = pageOf(arrivals, limit, ({ place }) => String(place), maxPageBytes)
    const profiles = shown.map(({ profile }) => profile)
    memberLists.listed(room, profiles, count)
    return { participants: describeParticipants(app, room, profiles), participantCount: count, nextCursor }
  })
  app.messages.on('room:update', { ...requests['room:update'], limit: { perMinute: app.config.ROOM_UPDATES_PER_MINUTE, eventual: true } }, async ({ title, topic }, { room, session }) => {
    const { roomId, record } = room
    if (await rooms.roleOf(record, session) === 'member') throw new Forbidden('Only the owner and admins of the room may do this')
    const before = rooms.detailsOf(record)
    const after = await rooms.update(record, { title, topic })
    app.admin.audit(session, 'room.update', { roomId, before, after })
    return {}
  })
  app.messages.on('session:ping', { ...requests['session:ping'], room: false, immediate: true }, () => ({ serverTime: app.clock.now() }))
  app.messages.on('user:getRoom', { ...requests['user:getRoom'], room: false, limit: { perMinute: app.config.USER_LOOKUPS_PER_MINUTE, eventual: true } }, async ({ userId }) => {
    const sessions = await app.directory.sessionsOf(userKeyOf(userId))
    return { roomId: sessions.find((session) => session.roomId !== null)?.roomId ?? null }
  })

  app.hooks.on('session:open', (session) => sessionRecords.update(session))
  app.hooks.on('session:close', (session) => {
    membership.disconnected(session)
    sessionRecords.remove(session)
  })

  const active = app.metrics.gauge('flylive_rooms_active', 'Rooms with members on this server')
  active.set(0)
  const gauge = setInterval(() => active.set(rooms.size), 1000).unref()
  // This hook runs after all sessions are closed and before the features are closed, so that the features still handle
  // the hooks for these sessions.
  app.addHook('preClose', async () => {
    clearInterval(gauge)
    await stop()
  })
  // This hook runs after the features are closed. The hook removes the lease, so that other servers do not have to wait
  // until the lease expires.
  app.addHook('onClose', async () => {
    await Promise.all([app.leases.remove(app.nodeId), app.store.forgetNodeRooms(app.nodeId), app.directory.removeNode(app.nodeId)]).catch(() => { /* A lease that cannot be removed expires later. */ })
  })
}, { name: 'rooms', dependencies: ['store', 'directory', 'jobs', 'cluster', 'sockets', 'messages', 'drain'] })
