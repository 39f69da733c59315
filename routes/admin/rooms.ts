import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { refusals } from '../../plugins/errors/refusals.ts'
import { Forbidden } from '../../plugins/errors/codes.ts'
import { cursor, cursorBehind, keyBehind, nextCursor, pageOf } from '../../plugins/schema/pages.ts'
import { createSearch, query } from '../../plugins/schema/search.ts'
import { NotInRoom, RoleLimit, RoomNotFound } from '../../plugins/rooms/errors.ts'
import { hasOwner } from '../../plugins/rooms/rooms.ts'
import type { RoomOverview } from '../../plugins/rooms/rooms.ts'
import type { RoomMediaInfo } from '../../plugins/media/sfu.ts'
import type { RoomSummary } from '../../plugins/store/types.ts'
import { closeReason, title, topic } from '../../plugins/rooms/messages.ts'
import { profile, roomId, userId, userIdText } from '../../plugins/schema/ids.ts'
import { userKeyOf } from '../../plugins/connections/session.ts'

const params = z.object({ roomId })

/** The fields of a room that both the list and the details contain. */
const overview = z.object({
  ownerId: userId.nullable().describe('null if the room has no owner'),
  hostName: z.string().nullable().describe('Name of the owner; null if the room has no owner or the name is unknown'),
  title: z.string().nullable(),
  topic: z.string().nullable()
})

const summary = z.object({
  id: roomId,
  ...overview.shape,
  locked: z.boolean(),
  participants: z.int(),
  seated: z.int(),
  producers: z.int(),
  createdAt: z.int(),
  lastActivityAt: z.int()
})

/** Fields that are present only if a feature handles the `admin:seating` hook. */
const seating = z.object({
  seatCount: z.int(),
  seats: z.array(z.object({ seatIndex: z.int(), userId, isMuted: z.boolean() })),
  lockedSeats: z.array(z.int())
})

const detail = z.object({
  id: roomId,
  ...overview.shape,
  locked: z.boolean(),
  roles: z.array(z.object({ userId, role: z.enum(['admin', 'member']) })).describe('The roles assigned by the owner'),
  createdAt: z.int(),
  lastActivityAt: z.int(),
  participantCount: z.int(),
  participants: z.array(profile),
  ...seating.partial().shape,
  producers: z.array(z.object({ producerId: z.string(), userId, isPaused: z.boolean() })),
  transports: z.array(z.object({ transportId: z.string(), userId, type: z.enum(['producer', 'consumer']), iceState: z.string(), dtlsState: z.string(), node: z.string() }))
    .describe('The transports on all servers, except servers that do not respond'),
  worker: z.int().nullable().describe("Index of the media worker that runs the room's main router. If this server has no media of the room, the worker is on another server"),
  routerId: z.string().nullable().describe('Id of that router')
})

const page = z.object({
  cursor,
  limit: z.coerce.number().int().min(1).max(200).default(50)
})
/** Maximum number of rooms that the server reads for one page of a search. */
const maxSearched = 1000

// Maximum number of participants in the response. The field participantCount contains the total number.
const participantsShown = 1000
/** How long to wait for the other servers' replies to `media:describe`, in milliseconds. */
const mediaTimeoutMs = 1000
const longestBanSeconds = 10 * 365 * 86_400

const tags = ['rooms']
const refused = refusals(RoomNotFound)

/** /admin/rooms: lists and searches rooms, changes and closes them, kicks and bans users, and changes roles. */
export default (async function rooms (app) {
  if (!app.admin.enabled) return

  const describe = ({ isLocked, ...overview }: RoomOverview) => ({ ...overview, ownerId: hasOwner(overview) ? overview.ownerId : null, locked: isLocked })

  async function listRooms (after: string, limit: number, query: string | undefined) {
    if (query === undefined) {
      const { shown, nextCursor } = pageOf(await app.store.listRooms(after, limit + 1), limit, ({ roomId }) => roomId)
      return { rooms: shown, overviews: await app.rooms.overviewsOf(shown), nextCursor }
    }
    const searched = await app.store.listRooms(after, maxSearched)
    const overviews = await app.rooms.overviewsOf(searched)
    const matches = createSearch(query)
    const found = searched.flatMap((room, i) => {
      const overview = overviews[i] as RoomOverview
      return matches([room.roomId, overview.title, overview.topic, overview.hostName]) ? [{ room, overview }] : []
    })
    const shown = found.slice(0, limit)
    const last = found.length > limit ? shown.at(-1)?.room : searched.length === maxSearched ? searched.at(-1) : undefined
    return { rooms: shown.map(({ room }) => room), overviews: shown.map(({ overview }) => overview), nextCursor: cursorBehind(last?.roomId) }
  }

  async function requireRoom (roomId: string): Promise<RoomSummary> {
    const room = await app.store.getRoom(roomId)
    if (!room) throw new RoomNotFound(roomId)
    return room
  }

  /** Describes a room's media on each server that has any, starting with this server. */
  async function mediaOf (roomId: string): Promise<(RoomMediaInfo & { node: string })[]> {
    const described = await Promise.all(app.nodes.list().map(async ({ nodeId: node }) => {
      const media = node === app.nodeId
        ? app.sfu.describe(roomId)
        : await app.cluster.ask(node, 'media:describe', { roomId }, mediaTimeoutMs).catch(() => null)
      return media ? [{ ...media, node }] : []
    }))
    return described.flat()
  }

  app.get('/admin/rooms', {
    schema: { tags, summary: 'Lists the rooms. A page of a search may have fewer rooms than `limit` even if more pages follow', querystring: page.extend({ query: query.optional().describe('Returns only rooms that contain all of these words in their id, title, topic or host name') }), response: { 200: z.object({ rooms: z.array(summary), nextCursor }) } }
  }, async ({ query: { cursor, limit, query } }) => {
    const { rooms, overviews, nextCursor } = await listRooms(keyBehind(cursor), limit, query)
    const [[seats], producers] = await Promise.all([app.hooks.ask('admin:seating', rooms), app.sfu.readProducers(rooms.map(({ roomId }) => roomId))])
    return {
      rooms: rooms.map((room, i) => ({
        id: room.roomId,
        ...describe(overviews[i] as RoomOverview),
        participants: room.participantCount,
        seated: seats?.[i]?.seats.length ?? 0,
        producers: producers[i]?.length ?? 0,
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
    const [[overview], roles, [[seats] = []], [producers = []], media] = await Promise.all([
      app.rooms.overviewsOf([room]), app.rooms.rolesOf(room), app.hooks.ask('admin:seating', [room]), app.sfu.readProducers([roomId]), mediaOf(roomId)
    ])
    return {
      id: room.roomId,
      ...describe(overview as RoomOverview),
      roles,
      createdAt: room.createdAt,
      lastActivityAt: room.lastActivityAt,
      participantCount: room.participantCount,
      participants,
      ...seats,
      producers,
      transports: media.flatMap(({ node, transports }) => transports.map((transport) => ({ ...transport, node }))),
      worker: media[0]?.worker ?? null,
      routerId: media[0]?.routerId ?? null
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
    // Even while the store cannot be read, members on this server can be removed.
    if (!app.rooms.get(roomId) && !await app.store.getRoom(roomId)) throw new RoomNotFound(roomId)
    const [member] = await app.store.getMembers(roomId, [userKeyOf(userId)]).catch(() => [])
    const target = member?.userId ?? userId
    const bannedUntil = banSeconds > 0 ? app.clock.now() + Math.ceil(banSeconds * 1000) : undefined
    await app.rooms.kick(roomId, target, bannedUntil)
    app.admin.audit(request, 'room.kick', { roomId, userId: target, before: { inRoom: member !== undefined }, after: { inRoom: false, bannedUntil: bannedUntil ?? null } })
    return reply.code(204).send(null)
  })

  app.patch('/admin/rooms/:roomId', {
    schema: {
      tags,
      summary: 'Changes the title, topic or lock of a room',
      params,
      body: z.object({
        title: title.nullable().optional().describe('null removes the title'),
        topic: topic.nullable().optional().describe('null removes the topic'),
        locked: z.boolean().optional().describe('false unlocks the room and removes the PIN; true locks the room without a PIN, so that new users cannot join')
      }),
      response: { 200: z.object({ title: z.string().nullable(), topic: z.string().nullable(), locked: z.boolean() }), ...refusals(RoomNotFound, Forbidden) }
    }
  }, async (request) => {
    const { params: { roomId }, body: { title, topic, locked } } = request
    const room = await requireRoom(roomId)
    const [before] = await app.rooms.overviewsOf([room])
    if (locked !== undefined) await (locked ? app.rooms.lock(room) : app.rooms.unlock(room))
    const { isLocked, ...details } = await app.rooms.update(room, { title, topic })
    const after = { ...details, locked: isLocked }
    app.admin.audit(request, 'room.update', { roomId, before: before && describe(before), after })
    return after
  })

  app.put('/admin/rooms/:roomId/roles/:userId', {
    schema: {
      tags,
      summary: 'Changes the role of a user in a room. A new owner must be in the room',
      params: z.object({ roomId, userId: userIdText }),
      body: z.object({ role: z.enum(['owner', 'admin', 'member']) }),
      response: { 204: z.null(), ...refusals(RoomNotFound, Forbidden, NotInRoom, RoleLimit) }
    }
  }, async (request, reply) => {
    const { params: { roomId, userId }, body: { role } } = request
    const room = await requireRoom(roomId)
    if (role === 'owner') {
      const [before] = await app.rooms.ownersOf([room])
      const ownerId = await app.rooms.transfer(room, userId)
      app.admin.audit(request, 'room.transfer', { roomId, before: { ownerId: before }, after: { ownerId } })
    } else {
      const { previous } = await app.rooms.setRole(room, userId, role)
      app.admin.audit(request, 'room.setRole', { roomId, userId, before: { role: previous }, after: { role } })
    }
    return reply.code(204).send(null)
  })

  app.get('/admin/rooms/:roomId/bans', {
    schema: {
      tags,
      summary: 'Lists the bans of a room, even if the room is closed',
      params,
      querystring: page,
      response: { 200: z.object({ bans: z.array(z.object({ userId, until: z.int(), by: userId.nullable() })), nextCursor }) }
    }
  }, async ({ params: { roomId }, query: { cursor, limit } }) => {
    const { shown, nextCursor } = pageOf(await app.store.listBans(roomId, keyBehind(cursor), limit + 1), limit, ({ userId }) => userKeyOf(userId))
    return { bans: shown, nextCursor }
  })

  app.delete('/admin/rooms/:roomId/bans/:userId', {
    schema: { tags, summary: "Removes a user's ban from a room", params: z.object({ roomId, userId: userIdText }), response: { 204: z.null() } }
  }, async (request, reply) => {
    const { params: { roomId, userId } } = request
    const banned = await app.store.unban(roomId, userKeyOf(userId))
    app.admin.audit(request, 'room.unban', { roomId, userId, before: { banned }, after: { banned: false } })
    return reply.code(204).send(null)
  })
}) satisfies FastifyPluginAsyncZod
