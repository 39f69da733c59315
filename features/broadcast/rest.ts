import { randomUUID } from 'node:crypto'
import { FeatureDisabled, Forbidden, PinRequired, PinWrong, refusals, roomId as anyRoomId, RoomLocked, RoomNotFound, userIdText, userKeyOf, z } from 'flylive-audio-server/feature'
import type { FeatureInstance, HttpRequest, UserId } from 'flylive-audio-server/feature'
import type { config } from './config.ts'
import { AnchorLimit, maxUsers, RoomExists, RoomQuota, userRole } from './room-records.ts'
import type { RoomRecordOfApi, RoomRecords } from './room-records.ts'
import type { Broadcasts } from './service.ts'
import type { KeyTokens } from './tokens.ts'

/** The user of a request, or an admin of the server. */
type Caller = { isAdmin: true } | { isAdmin: false, userId: UserId | null }

const status = z.enum(['onair', 'idle', 'left']).describe('`onair`: seated and not muted; `idle`: in the room, but not on air; `left`: not in the room')
const view = z.object({
  roomId: z.string(),
  hlsUrl: z.string(),
  onAir: z.boolean(),
  maxAnchors: z.int(),
  createdAt: z.int().describe('Epoch milliseconds')
})
const detailedView = view.extend({ users: z.array(z.object({ userID: z.string(), role: userRole, status })) })
const success = z.literal(true)

const createBody = z.object({
  roomId: z.string().regex(/^[A-Za-z0-9_-]{3,32}$/, 'must be 3–32 characters of A–Z a–z 0–9 _ -').optional(),
  pin: z.string().regex(/^[A-Za-z0-9]{6}$/, 'must be 6 letters or digits').optional().describe('If set, the broadcast is encrypted. Default: a random PIN, and no encryption'),
  maxAnchors: z.int().min(1).max(5).default(3)
})
const params = z.object({ roomId: anyRoomId })
const tags = ['broadcast']
const security: readonly Record<string, readonly string[]>[] = [{ token: [] }, { adminKey: [] }]
/** How long a user's token is valid. */
const tokenLifetime = '12h'
const sweepMs = 30_000

/** The REST API of the earlier Go server: /api/rooms and /api/token. */
export function restRoutes (app: FeatureInstance, settings: z.output<typeof config>, records: RoomRecords, broadcasts: Broadcasts, tokens: KeyTokens): void {
  const { clock, cluster, features, hooks, log, rooms, store } = app

  /** @throws UNAUTHORIZED, FEATURE_DISABLED, UNAVAILABLE */
  async function identify (request: HttpRequest): Promise<Caller> {
    if (await app.admin.identify(request)) return { isAdmin: true }
    const auth = features.getFeature('auth')
    if (auth) return { isAdmin: false, userId: (await auth.authenticate(request)).user.id }
    if (app.config.ALLOW_ANONYMOUS) return { isAdmin: false, userId: null }
    throw new FeatureDisabled('auth')
  }

  const callers = new WeakMap<HttpRequest, Caller>()
  /** Identifies the caller before the request is validated, so that strangers learn nothing from errors. */
  const preValidation = async (request: HttpRequest) => { callers.set(request, await identify(request)) }
  const callerOf = (request: HttpRequest) => callers.get(request) as Caller

  const owns = (caller: Caller, { ownerId }: RoomRecordOfApi) =>
    caller.isAdmin || (caller.userId !== null && ownerId !== null && userKeyOf(ownerId) === userKeyOf(caller.userId))

  /** @throws ROOM_NOT_FOUND; FORBIDDEN if the caller does not own the room */
  async function ownedRoom (request: HttpRequest, roomId: string): Promise<RoomRecordOfApi> {
    const caller = callerOf(request)
    const room = await records.get(roomId)
    if (!room) throw new RoomNotFound(roomId)
    if (!owns(caller, room)) throw new Forbidden('Only the owner of the room or an admin key may do this')
    return room
  }

  const viewOf = ({ roomId, maxAnchors, createdAt }: RoomRecordOfApi, onAir: boolean): z.input<typeof view> =>
    ({ roomId, hlsUrl: broadcasts.urlOf(roomId), onAir, maxAnchors, createdAt })
  const isOnAir = async (roomId: string) => (await broadcasts.isOnAir([roomId]))[0] === true

  async function usersOf ({ roomId, users }: RoomRecordOfApi): Promise<z.input<typeof detailedView>['users']> {
    if (users.length === 0) return []
    const record = await store.getRoom(roomId)
    const [members, seats] = await Promise.all([
      record ? store.getMembers(roomId, users.map(({ userId }) => userKeyOf(userId))) : [],
      record ? features.getFeature('seats')?.read(roomId) : undefined
    ])
    return users.map(({ userId, role }, i) => {
      const seat = seats?.seats.find((one) => userKeyOf(one.userId) === userKeyOf(userId))
      return { userID: userId, role, status: !members[i] ? 'left' as const : seat && !seat.selfMuted ? 'onair' as const : 'idle' as const }
    })
  }

  /** Puts a started room on air once it has a member, because a room without members has no audio. */
  async function openIfStarted (roomId: string): Promise<void> {
    const room = await records.get(roomId)
    if (room?.startedAt !== undefined) await broadcasts.open(roomId)
  }
  hooks.on('room:created', async ({ roomId }) => await openIfStarted(roomId))

  app.post('/api/rooms', {
    preValidation,
    schema: { tags, security, summary: 'Creates a room', body: createBody, response: { 201: z.object({ success, room: view.extend({ pin: z.string() }) }), ...refusals(RoomExists, RoomQuota) } }
  }, async (request, reply) => {
    const caller = callerOf(request)
    const { roomId, pin, maxAnchors } = request.body
    if (roomId !== undefined && await store.getRoom(roomId)) throw new RoomExists(roomId)
    const room = await records.create({ roomId, pin, maxAnchors, ownerId: caller.isAdmin ? null : caller.userId })
    return reply.code(201).send({ success: true, room: { ...viewOf(room, false), pin: room.pin } })
  })

  app.get('/api/rooms', {
    preValidation,
    schema: { tags, security, summary: 'Lists rooms: for admins all rooms, otherwise the rooms of the user and rooms on air without a PIN', response: { 200: z.object({ success, rooms: z.array(view) }) } }
  }, async (request) => {
    const caller = callerOf(request)
    const all = await records.list()
    const onAir = await broadcasts.isOnAir(all.map(({ roomId }) => roomId))
    return { success: true as const, rooms: all.map((room, i) => ({ room, onAir: onAir[i] === true })).filter(({ room, onAir }) => owns(caller, room) || (onAir && !room.isProtected)).map(({ room, onAir }) => viewOf(room, onAir)) }
  })

  app.get('/api/rooms/:roomId', {
    preValidation,
    schema: { tags, security, summary: 'Returns a room with the status of its users', params, response: { 200: z.object({ success, room: detailedView }), ...refusals(RoomNotFound) } }
  }, async (request) => {
    const caller = callerOf(request)
    const room = await records.get(request.params.roomId)
    const onAir = room !== undefined && await isOnAir(room.roomId)
    // The reply does not reveal the existence of a room that the caller cannot list.
    if (!room || !(owns(caller, room) || (onAir && !room.isProtected))) throw new RoomNotFound(request.params.roomId)
    return { success: true as const, room: { ...viewOf(room, onAir), users: await usersOf(room) } }
  })

  app.post('/api/rooms/:roomId/start', {
    preValidation,
    schema: { tags, security, summary: 'Puts a room on air, immediately or when its first member joins', params, response: { 200: z.object({ success, room: view }), ...refusals(RoomNotFound, Forbidden) } }
  }, async (request) => {
    const { roomId } = await ownedRoom(request, request.params.roomId)
    const room = await records.change(roomId, (room) => ({ ...room, startedAt: room.startedAt ?? clock.now() }))
    if (!room) throw new RoomNotFound(roomId)
    if (await store.getRoom(roomId)) await openIfStarted(roomId)
    return { success: true as const, room: viewOf(room, await isOnAir(roomId)) }
  })

  app.delete('/api/rooms/:roomId', {
    preValidation,
    schema: { tags, security, summary: 'Ends the broadcast, removes everyone and deletes the room', params, response: { 200: z.object({ success }), ...refusals(RoomNotFound, Forbidden) } }
  }, async (request) => {
    const { roomId } = await ownedRoom(request, request.params.roomId)
    await remove(roomId, 'host_left')
    return { success: true as const }
  })

  app.post('/api/rooms/:roomId/users', {
    preValidation,
    schema: {
      tags,
      security,
      summary: 'Creates a user with a token for the room',
      params,
      body: z.object({ role: userRole.default('guest') }).default({ role: 'guest' }),
      response: { 201: z.object({ userID: userIdText, token: z.string() }), ...refusals(RoomNotFound, Forbidden, AnchorLimit, FeatureDisabled) }
    }
  }, async (request, reply) => {
    const { roomId } = await ownedRoom(request, request.params.roomId)
    const { role } = request.body
    const auth = features.getFeature('auth')
    const sign = auth?.sign
    if (!sign) throw new FeatureDisabled('auth')
    const userId = `user-${randomUUID()}`
    const room = await records.change(roomId, (room) => {
      if (role === 'anchor' && room.users.filter((user) => user.role === 'anchor').length >= room.maxAnchors) throw new AnchorLimit(roomId, room.maxAnchors)
      // If there are too many guests, only the latest are listed.
      const others = room.users.length < maxUsers ? room.users : room.users.filter((user, i) => user.role !== 'guest' || i > room.users.length - maxUsers)
      return { ...room, users: [...others, { userId, role }] }
    })
    if (!room) throw new RoomNotFound(roomId)
    return reply.code(201).send({ userID: userId, token: sign({ id: userId, name: role, roomId, role }, tokenLifetime) })
  })

  app.post('/api/token', {
    schema: {
      tags,
      summary: 'Creates a token for the key of an encrypted broadcast',
      body: z.object({ roomId: anyRoomId, pin: z.string().max(32).optional() }),
      response: { 200: z.object({ success, token: z.string() }), ...refusals(RoomNotFound, PinRequired, PinWrong, RoomLocked) }
    }
  }, async ({ body: { roomId, pin }, ip }, reply) => {
    const [onAir, room, record] = await Promise.all([isOnAir(roomId), records.get(roomId), store.getRoom(roomId)])
    if (!onAir || !record) throw new RoomNotFound(roomId)
    await rooms.checkPin({ room: record, pin, expected: room?.isProtected === true ? room.pin : undefined, address: ip })
    reply.header('cache-control', 'no-store')
    return { success: true as const, token: tokens.sign(roomId, clock.now() + settings.tokenMinutes * 60_000) }
  })

  async function remove (roomId: string, reason: 'host_left' | 'inactivity'): Promise<void> {
    await records.delete(roomId)
    if (!await store.getRoom(roomId)) return
    await broadcasts.close(roomId)
    await rooms.close(roomId, reason)
  }

  /** Removes rooms that were not started within `idleMinutes`, and rooms that were started more than `maxHours` ago. */
  async function sweep (): Promise<void> {
    if (!await cluster.tryLock('broadcast:sweep', sweepMs - 1000)) return
    const now = clock.now()
    for (const { roomId, createdAt, startedAt } of await records.list()) {
      const isOver = startedAt === undefined ? now - createdAt > settings.idleMinutes * 60_000 : now - startedAt > settings.maxHours * 3_600_000
      if (isOver) await remove(roomId, 'inactivity')
    }
  }
  const timer = setInterval(() => { sweep().catch((err: unknown) => log.debug({ err }, 'failed to remove expired rooms')) }, sweepMs).unref()
  app.addHook('onClose', async () => clearInterval(timer))
}

export const restErrors = { RoomExists, RoomQuota, AnchorLimit }
