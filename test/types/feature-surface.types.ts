// Pins the public API of features. This file is compiled (npm run typecheck) but never run. Compilation fails if a name
// of the API is added or removed, or if the type of a name changes. List an intended change here and in the changelog,
// because features outside this repository may depend on it.
import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import type { Counter, Gauge, Histogram, Registry } from 'prom-client'
import * as surface from 'flylive-audio-server/feature'
import type {
  Admin, JobsRegistrar, Arrival, BusHandler, CodedError, ContractTables, FeatureConfig, Cluster, ClusterMessageKind, ClusterMessages, ClusterReply, ClusterRequestData,
  ClusterRequestKind, Decide, Decision, RoomState,
  EmitOptions, EventMap, OutgoingEvent, Redis, FeatureExports, FeatureHookRegistrar, FeatureSlots, FeatureInstance, FeatureMessages, FeatureMeta, FeatureSurface, Handler, HookFunction, HookName, Identity, HookRegistrar,
  JobHandler, KernelHooks, LeaveReason, LocalRoom, MessageContext, MessageDispatcher, MessageOptions, MessageRegistrar, MessageSchemas, Metrics, Profile,
  RequestMap, Role, RoomCloseReason, RoomEvent, RoomPage, PinRequest, RoomDetails, RoomOverview, Ban, BanOptions, RoomRecord, RoomRequest, Rooms, RoomStateHandle, RoomSummary, Session, Seating, SessionDirectory, SessionRecord, Sfu, User,
  RoomStore, KeyValue, Namespace, PlainKeys,
  ClientConnection, ConnectionPath, Face, FeatureSockets, GateRegistrar, HandledPath, HttpHandler, HttpPathOptions, Link, OpenOptions, ParsedMessage, UpgradePath,
  UserId, WireError, z
} from 'flylive-audio-server/feature'
import type * as lobby from '../../features/lobby/index.ts'
import type * as reactions from '../../features/reactions/index.ts'
import type * as template from '../../scripts/feature-template/index.ts'

/** Whether two types are identical, including optional and readonly properties. */
type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
type Assert<T extends true> = T
/** Names whose types differ. The compiler's error message contains these names. */
type Different<A, B> = { [K in keyof A | keyof B]-?: K extends keyof A & keyof B ? Equal<A[K], B[K]> extends true ? never : K : K }[keyof A | keyof B]
type None<T extends never> = T

/** A feature declares its public object and its hooks. */
declare module 'flylive-audio-server/feature' {
  interface FeatureSlots {
    example: { answer (): number }
  }
  interface FeatureHooks {
    'example:allowed': (roomId: string) => Promise<boolean>
  }
}

/** Members of a feature's instance that Fastify does not define. */
interface Expected {
  config: FeatureConfig
  nodeId: string
  metrics: {
    readonly registry: Registry
    counter<L extends string = never> (name: string, help: string, labels?: readonly L[]): Counter<L>
    gauge<L extends string = never> (name: string, help: string, labels?: readonly L[]): Gauge<L>
    histogram<L extends string = never> (name: string, help: string, labels: readonly L[], buckets: readonly number[]): Histogram<L>
  }
  messages: {
    on<S extends MessageOptions> (type: string, options: S, handler: Handler<S, S['room'] extends false ? undefined : LocalRoom>): void
    events (events: EventMap): void
    adds (to: string, fields: z.ZodObject): void
    accepts (to: string, fields: z.ZodObject): void
    dispatch (session: Session, type: string, data?: unknown): Promise<unknown>
  }
  gate: {
    http (prefix: string, handler: HttpHandler, options?: HttpPathOptions): void
    upgrade (path: string, options: UpgradePath): void
  }
  hooks: Pick<FeatureHookRegistrar, 'on' | 'has' | 'emit' | 'collect' | 'ask'>
  jobs: {
    on (name: string, handler: JobHandler): void
    schedule (name: string, key: string, at: number): Promise<void>
  }
  cluster: {
    on<K extends ClusterMessageKind> (kind: K, handler: (data: ClusterMessages[K]) => void): () => void
    send<K extends ClusterMessageKind> (kind: K, data: ClusterMessages[K]): Promise<boolean>
    tryLock (key: string, ttlMs: number): Promise<boolean>
    answer<K extends ClusterRequestKind> (kind: K, handler: (data: ClusterRequestData<K>) => ClusterReply<K> | Promise<ClusterReply<K>>): () => void
    ask<K extends ClusterRequestKind> (nodeId: string, kind: K, data: ClusterRequestData<K>, timeoutMs: number): Promise<ClusterReply<K>>
  }
  bus: {
    publish (channel: string, message: string): Promise<boolean>
    subscribe (channel: string, handler: BusHandler): Promise<void>
    unsubscribe (channel: string, handler: BusHandler): Promise<void>
  }
  rooms: {
    readonly size: number
    get (roomId: string): LocalRoom | undefined
    local (): IterableIterator<LocalRoom>
    ofSession (session: Session, roomId?: string): LocalRoom
    readonly roomState: { define<S> (name: string, schema: z.ZodType<S>, options?: { durable?: boolean | ((state: S) => S), changesDuringRestore?: boolean }): RoomStateHandle<S> }
    roleOf (room: RoomRecord, session: Session): Promise<'owner' | 'admin' | 'member'>
    roleOfUser (room: RoomRecord, userId: string | number): Promise<'owner' | 'admin' | 'member' | undefined>
    ownerOf (room: RoomRecord): Promise<string | number>
    ownersOf (rooms: readonly RoomRecord[]): Promise<(string | number)[]>
    overviewsOf (rooms: readonly RoomRecord[]): Promise<RoomOverview[]>
    detailsOf (room: RoomRecord): RoomDetails
    hasPin (room: RoomRecord): Promise<boolean>
    checkPin (request: PinRequest): Promise<void>
    update (room: RoomRecord, change: { title?: string | null | undefined, topic?: string | null | undefined }): Promise<RoomDetails>
    lock (room: RoomRecord, pin?: string): Promise<RoomDetails>
    unlock (room: RoomRecord): Promise<RoomDetails>
    adminsOf (room: RoomRecord): (string | number)[]
    rolesOf (room: RoomRecord): Promise<{ userId: string | number, role: 'admin' | 'member' }[]>
    setRole (room: RoomRecord, userId: string | number, role: 'admin' | 'member', by?: string | number): Promise<{ userId: string | number, previous: Role }>
    transfer (room: RoomRecord, userId: string | number, by?: string | number): Promise<string | number>
    reviewOwner (roomId: string): void
    touch (roomId: string): void
    defaultRoleOf (room: RoomRecord, session: Session): 'owner' | 'admin' | 'member'
    sendHere (roomId: string, event: OutgoingEvent): boolean
    sendTo (room: LocalRoom, session: Session, event: OutgoingEvent): void
    kickHere (roomId: string, userKey: string): void
    emit (roomId: string, type: string, data: object, options?: EmitOptions): void
    emitLogged (roomId: string, type: string, data: object, log: { entry: string, keep: number, spacing?: { key: string, state: string, field: string, ms: number } | undefined }): Promise<void>
    emitUnlogged (roomId: string, type: string, data: object, entry: string): Promise<boolean>
    close (roomId: string, reason: RoomCloseReason, onlyIfEmpty?: boolean): Promise<boolean>
    kick (roomId: string, userId: string | number, banUntil?: number, options?: { by?: string | number | undefined, limit?: number | undefined }): Promise<void>
  }
  sockets: {
    readonly size: number
    get (sessionId: string): Session | undefined
    all (): IterableIterator<Session>
    ofUser (userKey: string): Iterable<Session>
    renew (session: Session, identity: Identity): void
    toUser (userId: string | number, type: string, data: object): Promise<boolean>
    broadcast (type: string, ...variants: unknown[]): void
    open<F> (options: OpenOptions<F>): Session
    receive (session: Session, data: Buffer, isBinary: boolean): void
    admit (request: IncomingMessage, connection?: ClientConnection): string
    identify (request: IncomingMessage, token: string | undefined, connection: ClientConnection): Promise<Identity>
  }
  sfu: Pick<Sfu,
    'rtpCapabilities' | 'maxBitrates' | 'ready' | 'producersOf' | 'producerHandles' | 'speakersOf' | 'readSpeakers' | 'describe' |
    'createTransport' | 'connectTransport' | 'restartIce' |
    'produce' | 'closeProducer' | 'pauseProducer' | 'resumeProducer' |
    'consume' | 'consumeMix' | 'closeMixConsumers' | 'pauseConsumer' | 'resumeConsumer' | 'closeConsumer' | 'releaseAll' |
    'tap' | 'inject' | 'mix'>
  blobs: {
    put (key: string, stream: Readable): Promise<number>
    get (key: string, range?: { first: number, last: number }): Promise<Readable | undefined>
    list (prefix?: string): Promise<{ key: string, bytes: number, modifiedAt: number }[]>
    delete (key: string): Promise<void>
  }
  kv: {
    namespace (name: string): Namespace
    plainKeys (prefix: string): PlainKeys
  }
  store: {
    readonly kind: 'memory' | 'redis'
    readLog (roomId: string, last?: number): Promise<string[]>
    ban (roomId: string, userKey: string, until: number, options?: BanOptions): Promise<void>
    unban (roomId: string, userKey: string): Promise<boolean>
    listBans (roomId: string, after: string, limit: number): Promise<Ban[]>
    listEmptyRooms (before: number, limit: number): Promise<string[]>
    forgetEmptyRoom (roomId: string, before: number): Promise<void>
    getRoom (roomId: string): Promise<RoomSummary | undefined>
    listRooms (after: string, limit: number): Promise<RoomSummary[]>
    listBusyRooms (after: string, limit: number): Promise<RoomPage>
    getParticipants (roomId: string, limit: number): Promise<Profile[]>
    listParticipants (roomId: string, after: number, limit: number): Promise<{ arrivals: Arrival[], count: number }>
    getMembers (roomId: string, userKeys: readonly string[]): Promise<(Profile | undefined)[]>
    getSomeMembers (rooms: readonly { roomId: string, first: readonly string[] }[], limit: number): Promise<Profile[][]>
  }
  directory: { sessionsOf (userKey: string): Promise<SessionRecord[]> }
  features: {
    enabled (): string[]
    isEnabled (name: string): boolean
    getFeature<K extends keyof FeatureSlots> (name: K): FeatureSlots[K] | undefined
  }
  keep<T> (key: string, create: () => T, dispose?: (resource: T) => void | Promise<void>): T
  admin: { audit (...args: Parameters<Admin['audit']>): void, identify (request: Parameters<Admin['identify']>[0]): Promise<boolean> }
  contract (): ContractTables
  drain: { readonly draining: boolean }
  clock: { now (): number }
  redis: Redis | undefined
}

export type InstanceIsAsDocumented = [
  None<Different<FeatureSurface, Expected>>,
  None<Different<Pick<FeatureInstance, keyof Expected>, Expected>>
]

/** The kernel's hooks. */
interface ExpectedHooks {
  'session:open': (session: Session) => void
  'session:greet': (session: Session) => Record<string, unknown> | Promise<Record<string, unknown>>
  'session:close': (session: Session) => void
  'session:moved': (session: Session) => boolean
  'room:joining': (room: LocalRoom, session: Session, mayRead: boolean) => void
  'room:join': (room: LocalRoom, session: Session) => Record<string, unknown> | Promise<Record<string, unknown>>
  'room:leave': (room: LocalRoom, session: Session, reason: LeaveReason) => void
  'room:close': (room: LocalRoom, reason: RoomCloseReason) => void
  'room:released': (roomId: string) => void
  'room:admit': (roomId: string, session: Session) => Promise<'managed' | undefined>
  'room:nodeMessage': (roomId: string, topic: string, data: unknown) => void
  'room:nodeRemoved': (roomId: string, nodeId: string) => Promise<void>
  'room:create': (roomId: string, session: Session, request: RoomRequest) => Promise<{ ownerId: UserId } | undefined>
  'room:reserved': (roomId: string) => Promise<{ ownerId?: UserId, pin?: string } | undefined>
  'room:role': (room: RoomRecord, session: Session) => Promise<Role | undefined>
  'room:owner': (room: RoomRecord) => Promise<UserId | undefined>
  'room:successors': (room: RoomRecord) => Promise<readonly UserId[] | undefined>
  'room:ownerChanged': (room: LocalRoom, ownerId: UserId, previousOwnerId: UserId) => void
  'room:roleChanged': (room: LocalRoom, userId: UserId, role: 'admin' | 'member') => void
  'room:participants': (room: LocalRoom, profiles: Profile[]) => void
  'room:featured': (room: LocalRoom) => readonly UserId[]
  'room:created': (room: RoomRecord, request: RoomRequest) => void
  'room:userJoined': (roomId: string, user: Profile, count: number) => void
  'room:userLeft': (roomId: string, user: { userId: UserId, userKey: string }, reason: LeaveReason, count: number) => void
  'room:kicked': (roomId: string, userId: UserId) => void
  'room:removed': (room: RoomRecord, reason: RoomCloseReason) => void
  'room:resynced': (roomId: string) => void
  [hook: `room:state:${string}`]: (room: LocalRoom, state: unknown) => void
  'room:stateMissed': (room: LocalRoom, name: string, from: unknown, to: unknown, tell: (events: readonly RoomEvent[]) => void) => void
  'media:produce': KernelHooks['media:produce']
  'media:selfMuted': (roomId: string, session: Session, muted: boolean) => void
  'media:producerOpened': KernelHooks['media:producerOpened']
  'media:producerClosed': KernelHooks['media:producerClosed']
  'media:producerPaused': KernelHooks['media:producerPaused']
  'media:producerResumed': KernelHooks['media:producerResumed']
  'media:consumerClosed': (session: Session, consumerId: string) => void
  'media:speakers': KernelHooks['media:speakers']
  'media:reset': (roomId: string, reason: string, sessions?: readonly Session[]) => void
  'feature:enabled': (name: string) => void
  'feature:loaded': (name: string) => void
  'feature:disabled': (name: string) => void
  'admin:seating': (rooms: readonly RoomRecord[]) => Promise<readonly Seating[]>
  'health:checks': () => Record<string, () => Promise<void> | void>
  'health:warnings': () => string[]
  'server:closing': () => void | Promise<void>
}

export type HooksAreAsDocumented = [
  None<Different<KernelHooks, ExpectedHooks>>,
  Assert<Equal<HookName, keyof ExpectedHooks>>,
  Assert<Equal<HookFunction<'room:join'>, ExpectedHooks['room:join']>>
]

export type WhatIsExported = [
  Assert<Equal<keyof typeof surface,
    'createError' | 'createEvent' | 'createSearch' | 'cursor' | 'cursorBehind' | 'defineFeature' | 'findTextIssue' | 'fitting' | 'fromEnv' | 'hasOwner' | 'isCoded' | 'keyBehind' | 'maxEventBytes' | 'maxPageBytes' | 'nextCursor' | 'noOwner' | 'openBucket' | 'pageOf' | 'parseClientJson' | 'profile' | 'query' | 'rateLimited' | 'read' | 'readWithJoin' | 'redisScript' | 'refusals' | 'roomId' | 'secret' | 'text' | 'timeoutSignal' | 'unavailable' | 'userId' | 'userIdText' | 'userKeyOf' | 'validationFailed' | 'withDetails' | 'wireError' | 'webSocketFrame' | 'withTimeout' | 'z' |
    'CannotTargetSelf' | 'Draining' | 'FeatureDisabled' | 'Forbidden' | 'NotFound' | 'NotInRoom' | 'Overloaded' | 'PinRequired' | 'PinWrong' | 'RateLimited' | 'RoomLocked' | 'RoomNotFound' | 'Unauthorized' | 'Unavailable' | 'ValidationFailed'>>,
  Assert<Equal<typeof surface.withDetails, <T extends Error>(error: T, details: unknown) => T & { details: unknown }>>,
  Assert<Equal<typeof surface.timeoutSignal, (ms: number) => AbortSignal>>,
  Assert<Equal<typeof surface.withTimeout, <T, F>(promise: PromiseLike<T>, ms: number, onTimeout: () => F) => Promise<T | Awaited<F>>>>,
  Assert<Equal<typeof surface.userKeyOf, (id: UserId) => string>>,
  Assert<Equal<Parameters<typeof surface.rateLimited>, [retryAfterMs: number]>>,
  Assert<Equal<Parameters<typeof surface.unavailable>, [message: string, cause?: unknown]>>,
  Assert<Equal<z.output<typeof surface.roomId>, string>>,
  Assert<Equal<z.output<typeof surface.userId>, UserId>>,
  Assert<Equal<z.output<typeof surface.userIdText>, string>>,
  Assert<Equal<z.output<typeof surface.cursor>, string | undefined>>,
  Assert<Equal<z.output<typeof surface.nextCursor>, string | null>>,
  Assert<Equal<typeof surface.keyBehind, (cursor: string | undefined) => string>>,
  Assert<Equal<typeof surface.cursorBehind, (key: string | undefined) => string | null>>,
  Assert<Equal<typeof surface.pageOf, <T>(found: readonly T[], limit: number, keyOf: (one: T) => string, maxBytes?: number) => { shown: T[], nextCursor: string | null }>>
]

export type TypesAreAsDocumented = [
  Assert<Equal<Role, 'owner' | 'admin' | 'member'>>,
  Assert<Equal<LeaveReason, 'left' | 'moved' | 'disconnected' | 'kicked' | 'closed'>>,
  Assert<Equal<UserId, string | number>>,
  Assert<Equal<User, { id: UserId, name: string, roles: readonly string[], profile: Profile }>>,
  Assert<Equal<keyof Session, 'id' | 'connectedAt' | 'hasAudio' | 'user' | 'userKey' | 'identity' | 'room' | 'roomId' | 'open' | 'endedFor' | 'isLost' | 'queuedBytes' | 'face' | 'connected' | 'send' | 'write' | 'reply' | 'close' | 'terminate' | 'end' | 'admit' | 'receive' | 'renew' | 'awaitFirst' | 'sendFirst'>>,
  Assert<Equal<keyof Face, 'name' | 'binary' | 'parse' | 'event' | 'reply'>>,
  Assert<Equal<GateRegistrar, Expected['gate']>>,
  Assert<Equal<UpgradePath, ConnectionPath | HandledPath>>,
  Assert<Equal<keyof ConnectionPath, 'face' | 'subprotocol' | 'opened' | 'receive' | 'authenticate' | 'handle'>>,
  Assert<Equal<keyof Link, 'open' | 'queuedBytes' | 'bytesOf' | 'write' | 'close' | 'terminate'>>,
  Assert<Equal<Extract<ParsedMessage, { data: unknown }>, { id?: string | number | undefined, type: string, data: Record<string, unknown>, error?: undefined }>>,
  Assert<Session['id'] extends string ? true : false>,
  None<Different<Pick<Session, 'user' | 'userKey' | 'roomId' | 'open' | 'send'>, {
    readonly user: User
    readonly userKey: string
    roomId: string | null
    readonly open: boolean
    send (type: string, data: unknown): void
  }>>,
  Assert<Equal<Pick<LocalRoom, 'roomId' | 'record' | 'members'>, { readonly roomId: string, record: RoomRecord, readonly members: Set<Session> }>>,
  Assert<Equal<RoomRecord, { roomId: string, ownerId: UserId, createdAt: number, options: Readonly<Record<string, unknown>>, locked: boolean, reserved?: boolean | undefined, title?: string | undefined, topic?: string | undefined, ownerName?: string | undefined }>>,
  Assert<Equal<keyof RoomSummary, keyof RoomRecord | 'participantCount' | 'producers' | 'lastActivityAt'>>,
  Assert<Equal<RoomPage, { rooms: RoomSummary[], next: string | undefined }>>,
  Assert<Equal<RoomDetails, { title: string | null, topic: string | null, isLocked: boolean }>>,
  Assert<Equal<Ban, { userId: UserId, until: number, by: UserId | null }>>,
  Assert<Equal<keyof BanOptions, 'userId' | 'by' | 'limit'>>,
  Assert<Equal<Arrival, { place: number, profile: Profile }>>,
  Assert<Equal<keyof SessionRecord, 'sessionId' | 'userId' | 'nodeId' | 'roomId' | 'connectedAt' | 'hasAudio'>>,
  Assert<Equal<keyof MessageContext, 'session' | 'room' | 'log' | 'afterReply'>>,
  Assert<Equal<keyof MessageOptions, 'request' | 'reply' | 'room' | 'exclusive' | 'immediate' | 'limit' | 'shorten'>>,
  Assert<Equal<MessageOptions['limit'], { perMinute: number, perRoom?: boolean, name?: string, eventual?: boolean } | undefined>>,
  Assert<Equal<MessageSchemas, { request: z.ZodObject, reply: z.ZodType }>>,
  Assert<Equal<RequestMap, Readonly<Record<string, MessageSchemas>>>>,
  Assert<Equal<EventMap, Readonly<Record<string, z.ZodType>>>>,
  Assert<Equal<EmitOptions, { except?: string, local?: boolean }>>,
  Assert<Equal<RoomEvent, { type: string, data: object }>>,
  None<Different<RoomStateHandle<{ n: number }>, {
    readonly name: string
    peek (roomId: string): { n: number } | undefined
    read (roomId: string): Promise<{ n: number } | undefined>
    readMany (roomIds: readonly string[]): Promise<({ n: number } | undefined)[]>
    change<R> (roomId: string, decide: Decide<{ n: number }, R>): Promise<R>
    onChange (fn: (room: LocalRoom, state: { n: number } | undefined) => void): void
    onMissed (fn: (room: LocalRoom, from: { n: number } | undefined, to: { n: number } | undefined) => readonly RoomEvent[]): void
    wakeAt (roomId: string, at: number): Promise<void>
    onWake (fn: (roomId: string) => Promise<void>): void
  }>>,
  Assert<Equal<keyof Decision<unknown, unknown>, 'state' | 'events' | 'wakeAt' | 'result'>>,
  Assert<Equal<WireError, { code: string, message: string, details?: unknown }>>,
  Assert<Equal<keyof CodedError, keyof Error | 'code' | 'statusCode' | 'details'>>,
  Assert<Equal<keyof FeatureMeta<z.ZodObject>, 'name' | 'dependencies' | 'decorators' | 'config'>>,
  Assert<Equal<keyof FeatureExports, 'default' | 'requests' | 'config' | 'errors' | 'version'>>,
  // These types are also exported by name, so that helpers can take them as parameters.
  Assert<Equal<[FeatureMessages, FeatureHookRegistrar, JobsRegistrar, Cluster, Metrics, RoomState], [Expected['messages'], Expected['hooks'], Expected['jobs'], Expected['cluster'], Expected['metrics'], Expected['rooms']['roomState']]>>,
  Assert<FeatureHookRegistrar extends HookRegistrar ? true : false>,
  Assert<FeatureMessages extends MessageRegistrar & MessageDispatcher ? true : false>,
  Assert<Rooms extends Expected['rooms'] ? true : false>,
  Assert<FeatureSockets extends Expected['sockets'] ? true : false>,
  Assert<Equal<keyof PlainKeys, 'get' | 'getMany' | 'set' | 'delete'>>,
  Assert<Equal<keyof Namespace, keyof PlainKeys | 'compareAndSet' | 'list'>>,
  Assert<KeyValue extends Expected['kv'] ? true : false>,
  Assert<SessionDirectory extends Expected['directory'] ? true : false>,
  Assert<RoomStore extends Omit<Expected['store'], 'readLog'> ? true : false>
]

/** A feature module exports the members that the loader expects. */
export type FeaturesAreFeatures = [
  Assert<typeof lobby extends FeatureExports ? true : false>,
  Assert<typeof reactions extends FeatureExports ? true : false>,
  Assert<typeof template extends FeatureExports ? true : false>
]

declare const app: FeatureInstance

/** Code that must compile. */
export function possible () {
  const config = surface.z.object({ most: surface.z.int().default(3), name: surface.z.string().optional() })
  surface.defineFeature(async (app, options) => {
    const typed: { most: number, name?: string | undefined } = options
    app.log.info(typed, app.config.NODE_ENV)
  }, { name: 'x', dependencies: ['rooms'], decorators: ['seats'], config })
  surface.defineFeature(async () => {}, { name: 'x' })

  const request = surface.z.object({ text: surface.z.string().default('') })
  const reply = surface.z.object({ length: surface.z.int() })
  app.messages.on('x:y', { request, reply, limit: { perMinute: 3, perRoom: true }, exclusive: true }, async ({ text }, { room, session, log, afterReply }) => {
    afterReply(() => log.info(session.user.name))
    return { length: text.length + room.members.size }
  })
  app.messages.on('x:z', { request, reply, room: false }, (_data, { room }) => ({ length: room === undefined ? 0 : 1 }))

  // Routes get their types from the schemas, without a registered type provider.
  app.post('/admin/x/:id', {
    schema: { params: surface.z.object({ id: surface.z.coerce.number() }), body: surface.z.object({ on: surface.z.boolean() }), response: { 200: surface.z.object({ id: surface.z.number() }) } }
  }, async (request) => {
    const on: boolean = request.body.on
    app.admin.audit(request, 'x.switch', { before: !on, after: on })
    return { id: request.params.id }
  })
  app.addHook('onClose', async () => {})
  app.decorate('anything', { of: 'its own' })
  app.hooks.on('room:userJoined', (_roomId, user) => user.userId)
  app.hooks.on('example:allowed', async (roomId) => roomId === 'r1')
  const allowed: Promise<boolean[]> = app.hooks.ask('example:allowed', 'r1')
  const answer: number | undefined = app.features.getFeature('example')?.answer()
  return { allowed, answer, map: app.keep('map', () => new Map<string, number>(), (map) => map.clear()).get('x') }
}

/** Code that must not compile. */
export function impossible () {
  // @ts-expect-error The return value does not match the reply schema.
  app.messages.on('x:y', { request: surface.z.object({}), reply: surface.z.object({ length: surface.z.int() }) }, () => ({ size: 1 }))
  // @ts-expect-error A message with `room: false` has no room.
  app.messages.on('x:z', { request: surface.z.object({}), reply: surface.z.object({}), room: false }, (_data, { room }) => ({ id: room.roomId }))
  // @ts-expect-error The hook does not exist.
  app.hooks.on('room:opened', () => {})
  // @ts-expect-error Features cannot call the kernel's hooks.
  app.hooks.emit('room:resynced', 'r1')
  // @ts-expect-error The argument does not match the declared type.
  app.hooks.emit('example:allowed', 1)
  // @ts-expect-error No feature `unknown` has declared a public object.
  app.features.getFeature('unknown')
  // @ts-expect-error The type argument does not match the declared type.
  app.features.getFeature<{ hush (): void }>('example')
  // @ts-expect-error Only the kernel delays the requests of a session.
  app.messages.hold(app.sockets.get('1') as Session, Promise.resolve())
  // @ts-expect-error Features register with `messages`, `gate`, `hooks`, `jobs` and `cluster`.
  app.registrations.owners()
  // @ts-expect-error Only the loader disables features.
  app.features.disable('chat')
  // @ts-expect-error Only the kernel changes the members of a room.
  app.rooms.leave(app.sockets.get('1') as Session, 'left')
  // @ts-expect-error Only the kernel has access to the room store.
  app.store.removeRoom('r1')
  // @ts-expect-error `app.redis` is undefined unless Redis is configured.
  app.redis.get('x')
  // @ts-expect-error Features cannot drain the server.
  app.drain.begin(0)
  // @ts-expect-error Features cannot close the server.
  app.close()
  // @ts-expect-error The admin key is hidden from features.
  app.config.ADMIN_API_KEY.includes('x')
  // @ts-expect-error The configuration is read-only.
  app.config.PORT = 1
  // @ts-expect-error The config schema does not define `least`.
  surface.defineFeature(async (_app, { least }) => least, { name: 'x', config: surface.z.object({ most: surface.z.int() }) })
  // @ts-expect-error A feature needs a name.
  surface.defineFeature(async () => {}, {})
}
