import { randomUUID } from 'node:crypto'
import { FeatureDisabled, Forbidden, isCoded, PinRequired, PinWrong, refusals, roomId as anyRoomId, RoomLocked, RoomNotFound, userId as anyUserId, userIdText, userKeyOf, z } from 'flylive-audio-server/feature'
import type { FeatureInstance, HttpRequest, UserId } from 'flylive-audio-server/feature'
import type { ApiRoom, ApiRooms, Caller } from './api-rooms.ts'
import type { config } from './config.ts'
import { AnchorLimit, maxUsers, RoomExists, RoomQuota, userRole } from './room-records.ts'
import type { RoomRecordOfApi, RoomRecords } from './room-records.ts'
import type { Broadcasts } from './service.ts'
import type { KeyTokens } from './tokens.ts'

const status = z.enum(['onair', 'idle', 'left']).describe('`onair`: the user has a seat and is not self-muted; `idle`: the user is in the room, but has no seat or is self-muted; `left`: the user is not in the room')
const view = z.object({
  roomId: z.string(),
  hlsUrl: z.string(),
  onAir: z.boolean(),
  maxAnchors: z.int(),
  createdAt: z.int().describe('Epoch milliseconds')
})
const detailedView = view.extend({ users: z.array(z.object({ userID: anyUserId, role: userRole, status })).describe('The users that were created over the API, then members of the room with their own tokens, seated users first: at most 100') })
/** Maximum number of members whose status a room's view adds to the users that were created over the API. */
const maxOtherUsers = 100
const success = z.literal(true)

const defaultMaxAnchors = 3
const createBody = z.object({
  roomId: z.string().regex(/^[A-Za-z0-9_-]{3,32}$/, 'must be 3–32 characters of A–Z a–z 0–9 _ -').optional(),
  pin: z.string().regex(/^[A-Za-z0-9]{6}$/, 'must be 6 letters or digits').optional().describe('PIN that encrypts the broadcast and locks the room: everyone except the owner of the room needs the PIN to join. Default: a random PIN that neither encrypts the broadcast nor locks the room'),
  maxAnchors: z.int().min(1).max(5).default(defaultMaxAnchors)
})
const params = z.object({ roomId: anyRoomId })
const tags = ['broadcast']
const security: readonly Record<string, readonly string[]>[] = [{ token: [] }, { adminKey: [] }]
/** Prefix of the ids of users that the API creates. */
const userPrefix = 'user-'
const isApiUser = (userId: unknown): userId is string => typeof userId === 'string' && userId.startsWith(userPrefix)
/** Lifetime of the token that the API creates for a new user. */
const tokenLifetime = '12h'
const removalJob = 'broadcast-removal'

/** Adds the routes /api/rooms and /api/token, which are compatible with the earlier server in Go. */
export function restRoutes (app: FeatureInstance, settings: z.output<typeof config>, records: RoomRecords, apiRooms: ApiRooms, broadcasts: Broadcasts, tokens: KeyTokens): void {
  const { clock, features, hooks, jobs, log, rooms, store } = app

  /** Whether a request has neither a token nor a key, and the server accepts such requests. */
  const isAnonymous = ({ headers, query }: HttpRequest) => app.config.ALLOW_ANONYMOUS && headers.authorization === undefined && (query as { token?: unknown }).token === undefined

  /** @throws UNAUTHORIZED, FEATURE_DISABLED, UNAVAILABLE */
  async function identify (request: HttpRequest): Promise<Caller> {
    const auth = features.getFeature('auth')
    try {
      if (auth) return { isAdmin: false, userId: (await auth.authenticate(request)).user.id }
    } catch (error) {
      // Check first whether the token is a user token, because a user token would count as a wrong admin key.
      if (await app.admin.identify(request)) return { isAdmin: true }
      if (isAnonymous(request)) return { isAdmin: false, userId: null }
      throw error
    }
    if (await app.admin.identify(request)) return { isAdmin: true }
    if (app.config.ALLOW_ANONYMOUS) return { isAdmin: false, userId: null }
    throw new FeatureDisabled('auth')
  }

  const callers = new WeakMap<HttpRequest, Caller>()
  /**
   * Identifies the caller before the request is validated, so that unauthenticated clients receive no validation
   * errors.
   */
  const preValidation = async (request: HttpRequest) => { callers.set(request, await identify(request)) }
  const callerOf = (request: HttpRequest) => callers.get(request) as Caller

  /**
   * Returns a room if the caller is allowed to manage it.
   *
   * @param required `owner` if the caller must own the room; `host` if the caller can also be an admin of the room
   * @throws ROOM_NOT_FOUND, FORBIDDEN
   */
  async function ownRoom (request: HttpRequest, roomId: string, required: 'owner' | 'host'): Promise<ApiRoom> {
    const caller = callerOf(request)
    const room = await apiRooms.find(roomId)
    if (!room) throw new RoomNotFound(roomId)
    if (!await (required === 'owner' ? apiRooms.owns : apiRooms.hosts)(caller, room)) throw new Forbidden(`This requires the owner${required === 'owner' ? '' : ' or an admin'} of the room, or an admin key`)
    return room
  }

  const viewOf = ({ roomId, record, live }: ApiRoom, onAir: boolean): z.input<typeof view> => {
    const { maxAnchors = defaultMaxAnchors, createdAt } = { ...live, ...record } as Partial<RoomRecordOfApi> & { createdAt: number }
    return { roomId, hlsUrl: broadcasts.urlOf(roomId), onAir, maxAnchors, createdAt }
  }
  const isOnAir = async (roomId: string) => (await broadcasts.isOnAir([roomId]))[0] === true

  async function usersOf ({ roomId, record, live }: ApiRoom): Promise<z.input<typeof detailedView>['users']> {
    const created = record?.users ?? []
    if (!live) return created.map(({ userId, role }) => ({ userID: userId, role, status: 'left' as const }))
    const createdKeys = created.map(({ userId }) => userKeyOf(userId))
    const seats = (await features.getFeature('seats')?.read(roomId))?.seats ?? []
    const [present, [members = []], [overview]] = await Promise.all([
      store.getMembers(roomId, createdKeys),
      store.getSomeMembers([{ roomId, first: seats.map(({ userId }) => userKeyOf(userId)) }], maxOtherUsers),
      rooms.overviewsOf([live])
    ])
    const speakers = new Set(seats.filter(({ selfMuted }) => !selfMuted).map(({ userId }) => userKeyOf(userId)))
    const statusOf = (userId: UserId) => speakers.has(userKeyOf(userId)) ? 'onair' as const : 'idle' as const
    const others = members.filter(({ userId }) => !createdKeys.includes(userKeyOf(userId)))
    return [
      ...created.map(({ userId, role }, i) => ({ userID: userId, role, status: present[i] ? statusOf(userId) : 'left' as const })),
      ...others.map(({ userId }) => ({ userID: userId, role: overview && userKeyOf(overview.ownerId) === userKeyOf(userId) ? 'host' as const : 'guest' as const, status: statusOf(userId) }))
    ]
  }

  /**
   * Puts a room on air if it has members and was started through the API. An empty room is not put on air, because it
   * has no audio.
   */
  async function openIfStarted (roomId: string): Promise<void> {
    const record = (await apiRooms.find(roomId))?.record
    if (record?.startedAt !== undefined && record.isStopped !== true) await broadcasts.open(roomId)
  }
  hooks.on('room:reserved', async (roomId) => {
    const room = await records.get(roomId)
    return room && { ...(room.ownerId === null ? {} : { ownerId: room.ownerId }), ...(room.isProtected ? { pin: room.pin } : {}) }
  })
  hooks.on('room:created', async ({ roomId }) => await openIfStarted(roomId))
  // When a user with the role `host` joins the room, the user becomes an admin of the room.
  const promoting = new Map<string, Promise<void>>()
  const promotionKey = (roomId: string, userId: UserId) => `${roomId} ${userKeyOf(userId)}`
  async function promoteHost (roomId: string, userId: UserId): Promise<void> {
    const { record, live } = await apiRooms.find(roomId) ?? {}
    if (!live || record?.users.some((user) => user.userId === userId && user.role === 'host') !== true) return
    await rooms.setRole(live, userId, 'admin').catch((err: unknown) => {
      if (!isCoded(err)) throw err
      log.debug({ err, roomId, userId }, 'failed to promote a host to admin of the room')
    })
  }
  hooks.on('room:userJoined', async (roomId, { userId }) => {
    if (!isApiUser(userId)) return
    const key = promotionKey(roomId, userId)
    const promotion = promoteHost(roomId, userId).finally(() => { if (promoting.get(key) === promotion) promoting.delete(key) })
    promoting.set(key, promotion)
    await promotion
  })
  // Delays the reply to a host's join until the promotion, so that the reply has the role and the host's next request
  // is accepted.
  hooks.on('room:join', async ({ roomId }, { user }) => {
    await promoting.get(promotionKey(roomId, user.id))
    return {}
  })

  app.post('/api/rooms', {
    preValidation,
    schema: { tags, security, summary: 'Creates a room', body: createBody.nullish(), response: { 201: z.object({ success, room: view.extend({ pin: z.string() }) }), ...refusals(RoomExists, RoomQuota) } }
  }, async (request, reply) => {
    const caller = callerOf(request)
    const { roomId, pin, maxAnchors = defaultMaxAnchors } = request.body ?? {}
    if (roomId !== undefined && await store.getRoom(roomId)) throw new RoomExists(roomId)
    const record = await records.create({ roomId, pin, maxAnchors, ownerId: caller.isAdmin ? null : caller.userId, isAnonymous: !caller.isAdmin && caller.userId === null })
    await scheduleRemoval(record)
    return reply.code(201).send({ success: true, room: { ...viewOf({ roomId: record.roomId, record, live: undefined }, false), pin: record.pin } })
  })

  app.get('/api/rooms', {
    preValidation,
    schema: { tags, security, summary: 'Lists rooms. With an admin key: all rooms that were created over the API or are on air. Otherwise: the rooms that the caller created, and the rooms on air that have no PIN and are not locked', response: { 200: z.object({ success, rooms: z.array(view) }) } }
  }, async (request) => {
    const caller = callerOf(request)
    const all = await apiRooms.list(caller)
    const onAir = await broadcasts.isOnAir(all.map(({ roomId }) => roomId))
    const isVisible = await apiRooms.areVisible(caller, all, onAir)
    return { success: true as const, rooms: all.flatMap((room, i) => isVisible[i] === true ? viewOf(room, onAir[i] === true) : []) }
  })

  app.get('/api/rooms/:roomId', {
    preValidation,
    schema: { tags, security, summary: 'Returns a room with the status of its users', params, response: { 200: z.object({ success, room: detailedView }), ...refusals(RoomNotFound) } }
  }, async (request) => {
    const caller = callerOf(request)
    const { roomId } = request.params
    const [room, onAir] = await Promise.all([apiRooms.find(roomId), isOnAir(roomId)])
    // If the caller is not allowed to list or manage the room, do not reveal that the room exists.
    if (!room || !((await apiRooms.areVisible(caller, [room], [onAir]))[0] === true || await apiRooms.hosts(caller, room))) throw new RoomNotFound(roomId)
    return { success: true as const, room: { ...viewOf(room, onAir), users: await usersOf(room) } }
  })

  app.post('/api/rooms/:roomId/start', {
    preValidation,
    schema: { tags, security, summary: 'Puts a room on air, immediately or when its first member joins', params, response: { 200: z.object({ success, room: view }), ...refusals(RoomNotFound, Forbidden) } }
  }, async (request) => {
    const room = await ownRoom(request, request.params.roomId, 'host')
    const { roomId, live } = room
    if (room.record) {
      const started = await records.change(roomId, ({ isStopped, ...record }) => ({ ...record, startedAt: record.startedAt ?? clock.now() }))
      if (!started) throw new RoomNotFound(roomId)
      await scheduleRemoval(started)
    }
    if (live) await broadcasts.open(roomId)
    // If the first member has joined since `find`, put the room on air now.
    else if (await store.getRoom(roomId)) await openIfStarted(roomId)
    return { success: true as const, room: viewOf(room, await isOnAir(roomId)) }
  })

  app.delete('/api/rooms/:roomId', {
    preValidation,
    schema: { tags, security, summary: 'Ends the broadcast, removes everyone and deletes the room', params, response: { 200: z.object({ success }), ...refusals(RoomNotFound, Forbidden) } }
  }, async (request) => {
    await remove(await ownRoom(request, request.params.roomId, 'owner'), 'host_left')
    return { success: true as const }
  })

  app.post('/api/rooms/:roomId/users', {
    preValidation,
    schema: {
      tags,
      security,
      summary: 'Creates a user with a token for the room',
      params,
      body: z.object({ role: userRole.default('guest') }).nullish(),
      response: { 201: z.object({ userID: userIdText, token: z.string() }), ...refusals(RoomNotFound, Forbidden, AnchorLimit, FeatureDisabled) }
    }
  }, async (request, reply) => {
    const { roomId, record } = await ownRoom(request, request.params.roomId, 'host')
    if (!record) throw new Forbidden('Users can be created only for a room that was created over the REST API')
    const role = request.body?.role ?? 'guest'
    const auth = features.getFeature('auth')
    const sign = auth?.sign
    if (!sign) throw new FeatureDisabled('auth')
    const userId = `${userPrefix}${randomUUID()}`
    const room = await records.change(roomId, (room) => {
      if (role === 'anchor' && room.users.filter((user) => user.role === 'anchor').length >= room.maxAnchors) throw new AnchorLimit(roomId, room.maxAnchors)
      // If the list of users is full, remove the oldest guest from it.
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
    const [onAir, room] = await Promise.all([isOnAir(roomId), apiRooms.find(roomId)])
    if (!onAir || !room?.live) throw new RoomNotFound(roomId)
    await rooms.checkPin({ room: room.live, pin, fallback: room.record?.isProtected === true ? room.record.pin : undefined, address: ip })
    reply.header('cache-control', 'no-store')
    return { success: true as const, token: tokens.sign(roomId, clock.now() + settings.tokenMinutes * 60_000) }
  })

  async function remove ({ roomId, record, live }: ApiRoom, reason: 'host_left' | 'inactivity'): Promise<void> {
    if (live) {
      await broadcasts.close(roomId)
      await rooms.close(roomId, reason)
    }
    // Delete the record last: if a step fails or the server dies, the removal job or the caller repeats the removal.
    if (record) await records.delete(roomId)
  }

  /**
   * The time at which a room must be removed: `maxHours` after it was started or, if it was not started, `idleMinutes`
   * after it was created.
   */
  const dueAt = ({ createdAt, startedAt }: RoomRecordOfApi) =>
    startedAt === undefined ? createdAt + settings.idleMinutes * 60_000 : startedAt + settings.maxHours * 3_600_000
  const scheduleRemoval = async (record: RoomRecordOfApi) => await jobs.schedule(removalJob, record.roomId, dueAt(record))

  /** Stores when a room was first on air, unless the room was started through the API. */
  async function markOnAir (roomId: string, at: number): Promise<void> {
    const marked = await records.change(roomId, (record) => record.startedAt === undefined ? { ...record, startedAt: at, isStopped: true } : record)
    if (marked) await scheduleRemoval(marked)
  }

  // Hosts also start and stop a broadcast with `broadcast:start` and `broadcast:stop`, and BROADCAST_FROM_LISTENERS starts
  // it automatically.
  hooks.on('broadcast:changed', async (roomId, onAir, { startedAt }) => {
    if (!(await apiRooms.find(roomId))?.record) return
    if (onAir) await markOnAir(roomId, startedAt)
    else await records.change(roomId, (record) => record.startedAt === undefined ? record : { ...record, isStopped: true })
  })

  jobs.on(removalJob, async (roomId) => {
    const record = await records.get(roomId)
    if (!record) return
    if (dueAt(record) > clock.now()) return await scheduleRemoval(record)
    const room = await apiRooms.find(roomId)
    // If a server died before it stored when the room was first on air, store that time now.
    const current = room?.record && record.startedAt === undefined ? await broadcasts.current(roomId) : undefined
    if (current) return await markOnAir(roomId, current.startedAt)
    // If the record does not belong to the live room, delete only the record.
    if (room?.record) await remove(room, 'inactivity')
    else await records.delete(roomId)
  })
  // Schedule the removal of all rooms again, because the settings may have changed, and because a server without Redis
  // loses its jobs when it restarts.
  hooks.on('feature:loaded', (name) => {
    if (name !== 'broadcast') return
    records.list().then(async (all) => await Promise.all(all.map(scheduleRemoval))).catch((err: unknown) => log.warn({ err }, 'failed to schedule the removal of rooms'))
  })
}

export const restErrors = { RoomExists, RoomQuota, AnchorLimit }
