import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { refusals } from '../../plugins/errors/refusals.ts'
import { cursor, keyBehind, nextCursor, pageOf } from '../../plugins/schema/pages.ts'
import { RoomNotFound } from '../../plugins/rooms/errors.ts'
import { closeReason } from '../../plugins/rooms/messages.ts'
import { profile, roomId, userId, userIdText } from '../../plugins/schema/ids.ts'
import { userKeyOf } from '../../plugins/connections/session.ts'

const params = z.object({ roomId })

const summary = z.object({
  id: roomId,
  ownerId: userId,
  participants: z.int(),
  seated: z.int(),
  producers: z.int(),
  createdAt: z.int(),
  lastActivityAt: z.int()
})

/** Fields that are present only if a feature handles the hook `admin:seating`. */
const seating = z.object({
  seatCount: z.int(),
  seats: z.array(z.object({ seatIndex: z.int(), userId, isMuted: z.boolean() })),
  lockedSeats: z.array(z.int())
})

const detail = z.object({
  id: roomId,
  ownerId: userId,
  locked: z.boolean(),
  createdAt: z.int(),
  lastActivityAt: z.int(),
  participantCount: z.int(),
  participants: z.array(profile),
  ...seating.partial().shape,
  producers: z.array(z.object({ producerId: z.string(), userId, isPaused: z.boolean() })),
  transports: z.array(z.object({ transportId: z.string(), userId, type: z.enum(['producer', 'consumer']), iceState: z.string(), dtlsState: z.string() })),
  worker: z.int().nullable(),
  routerId: z.string().nullable()
})

const page = z.object({
  cursor,
  limit: z.coerce.number().int().min(1).max(200).default(50)
})

// Maximum number of participants in the response. participantCount is the total.
const participantsShown = 1000
const longestBanSeconds = 10 * 365 * 86_400

const tags = ['rooms']
const refused = refusals(RoomNotFound)

/** /admin/rooms: lists rooms, closes them, and kicks and bans users. */
export default (async function rooms (app) {
  if (!app.admin.enabled) return

  app.get('/admin/rooms', {
    schema: { tags, summary: 'Lists the rooms', querystring: page, response: { 200: z.object({ rooms: z.array(summary), nextCursor }) } }
  }, async ({ query: { cursor, limit } }) => {
    const { shown, nextCursor } = pageOf(await app.store.listRooms(keyBehind(cursor), limit + 1), limit, ({ roomId }) => roomId)
    const [owners, [seats]] = await Promise.all([app.rooms.ownersOf(shown), app.hooks.ask('admin:seating', shown)])
    return {
      rooms: shown.map((room, i) => ({
        id: room.roomId,
        ownerId: owners[i] ?? room.ownerId,
        participants: room.participantCount,
        seated: seats?.[i]?.seats.length ?? 0,
        producers: room.producers,
        createdAt: room.createdAt,
        lastActivityAt: room.lastActivityAt
      })),
      nextCursor
    }
  })

  app.get('/admin/rooms/:roomId', {
    schema: { tags, summary: 'Returns the details of a room', params, response: { 200: detail, ...refused } }
  }, async ({ params: { roomId } }) => {
    const [room, participants] = await Promise.all([app.store.getRoom(roomId), app.store.getParticipants(roomId, participantsShown)])
    if (!room) throw new RoomNotFound(roomId)
    const media = app.sfu.describe(roomId)
    const [[ownerId = room.ownerId], [[seats] = []]] = await Promise.all([app.rooms.ownersOf([room]), app.hooks.ask('admin:seating', [room])])
    return {
      id: room.roomId,
      ownerId,
      locked: room.locked,
      createdAt: room.createdAt,
      lastActivityAt: room.lastActivityAt,
      participantCount: room.participantCount,
      participants,
      ...seats,
      producers: app.sfu.producersOf(roomId),
      transports: media?.transports ?? [],
      worker: media?.worker ?? null,
      routerId: media?.routerId ?? null
    }
  })

  app.post('/admin/rooms/:roomId/close', {
    schema: {
      tags,
      summary: 'Removes everyone and deletes the room',
      params,
      body: z.object({ reason: closeReason.default('closed_by_admin') }).nullish(),
      response: { 204: z.null(), ...refused }
    }
  }, async (request, reply) => {
    const { params: { roomId } } = request
    const reason = request.body?.reason ?? 'closed_by_admin'
    const before = await app.store.getRoom(roomId)
    if (!await app.rooms.close(roomId, reason)) throw new RoomNotFound(roomId)
    app.admin.audit(request, 'room.close', { roomId, reason, before, after: null })
    return reply.code(204).send(null)
  })

  app.post('/admin/rooms/:roomId/kick', {
    schema: {
      tags,
      summary: 'Kicks a user from a room, optionally with a ban',
      params,
      body: z.object({ userId, banSeconds: z.number().min(0).max(longestBanSeconds).optional() }),
      response: { 204: z.null(), ...refused }
    }
  }, async (request, reply) => {
    const { params: { roomId }, body: { userId, banSeconds = 0 } } = request
    // While the store cannot be read, members on this server can still be removed.
    if (!app.rooms.get(roomId) && !await app.store.getRoom(roomId)) throw new RoomNotFound(roomId)
    const [member] = await app.store.getMembers(roomId, [userKeyOf(userId)]).catch(() => [])
    const bannedUntil = banSeconds > 0 ? app.clock.now() + Math.ceil(banSeconds * 1000) : undefined
    await app.rooms.kick(roomId, userId, bannedUntil)
    app.admin.audit(request, 'room.kick', { roomId, userId, before: { inRoom: member !== undefined }, after: { inRoom: false, bannedUntil: bannedUntil ?? null } })
    return reply.code(204).send(null)
  })

  app.delete('/admin/rooms/:roomId/bans/:userId', {
    schema: { tags, summary: "Lifts a user's ban from a room", params: z.object({ roomId, userId: userIdText }), response: { 204: z.null() } }
  }, async (request, reply) => {
    const { params: { roomId, userId } } = request
    const banned = await app.store.unban(roomId, userKeyOf(userId))
    app.admin.audit(request, 'room.unban', { roomId, userId, before: { banned }, after: { banned: false } })
    return reply.code(204).send(null)
  })
}) satisfies FastifyPluginAsyncZod
