import fp from 'fastify-plugin'
import { validationFailed } from '../errors/codes.ts'
import { keyBehind, pageOf } from '../schema/pages.ts'
import { userKeyOf } from '../connections/user.ts'
import { keepRooms } from './keeper.ts'
import { events, requests } from './messages.ts'
import { createRooms } from './membership.ts'
import { prominentFirst, standingOf } from './welcome.ts'

/** Pages of participants that a user may ask for: enough for rooms of many thousands, and no load. */
const pagesPerMinute = 120

/** @throws VALIDATION_FAILED when it is no cursor of the server's */
function placeBehind (cursor: string | undefined): number {
  const key = keyBehind(cursor)
  if (!/^\d{0,16}$/.test(key)) throw validationFailed([{ path: ['cursor'], message: 'is not one that the server gave' }])
  return Number(key)
}

/** Rooms: who is in them, what they hear, and when they end. */
export default fp(async function rooms (app) {
  const created = createRooms(app)
  app.decorate('rooms', created)
  app.messages.events(events)

  app.messages.on('room:join', { ...requests['room:join'], room: false, exclusive: true }, async (data, { session, afterReply }) => {
    const { room, result, extra, answered } = await created.join(session, data)
    afterReply(answered)
    const [standing, participants] = await Promise.all([standingOf(app, result.room, session), prominentFirst(app, room, result)])
    return {
      roomId: room.roomId,
      self: { userId: session.user.id, role: standing.role },
      ownerId: standing.ownerId,
      participantCount: result.count,
      participants,
      ...extra
    }
  })
  app.messages.on('room:leave', { ...requests['room:leave'], exclusive: true }, async (_data, { session }) => {
    await created.leave(session, 'left')
    return {}
  })
  app.messages.on('room:participants', { ...requests['room:participants'], limit: { perMinute: pagesPerMinute } }, async ({ cursor, limit }, { room }) => {
    const { arrivals, count } = await app.store.listParticipants(room.roomId, placeBehind(cursor), limit + 1)
    const { shown, nextCursor } = pageOf(arrivals, limit, ({ place }) => String(place))
    return { participants: shown.map(({ profile }) => profile), participantCount: count, nextCursor }
  })
  app.messages.on('user:getRoom', { ...requests['user:getRoom'], room: false }, async ({ userId }) => {
    const sessions = await app.store.getSessions(userKeyOf(userId))
    return { roomId: sessions.find((session) => session.roomId !== null)?.roomId ?? null }
  })

  app.hooks.on('session:open', (session) => {
    app.store.putSession(session.userKey, { sessionId: session.id, nodeId: app.nodeId, roomId: null, connectedAt: session.connectedAt })
      .catch(() => created.writeBack.mark())
  })
  app.hooks.on('session:close', (session) => {
    created.disconnected(session)
    app.store.removeSession(session.userKey, session.id).catch(() => { /* Its entry ends with this server's lease or its time. */ })
  })

  const active = app.metrics.gauge('flylive_rooms_active', 'Rooms with members on this server')
  active.set(0)
  const gauge = setInterval(() => active.set(created.size), 1000).unref()
  const stopKeeping = keepRooms(app, created)
  // Behind that of the sockets, which ends all sessions: features still hear who has left.
  app.addHook('preClose', async () => {
    clearInterval(gauge)
    await stopKeeping()
    await created.stop()
  })
  // And behind the features: nobody needs to wait for the lease to end.
  app.addHook('onClose', async () => {
    await app.store.forgetNode(app.nodeId).catch(() => {})
  })
}, { name: 'rooms', dependencies: ['store', 'jobs', 'bus', 'cluster', 'sockets', 'messages', 'drain'] })
