// The feature API: features import this file as `flylive-audio-server/feature`. This API is stable between minor
// versions, which test/types checks. All other modules of the server may change at any time.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FastifyBaseLogger, FastifyInstance, FastifyPluginAsync, RawServerDefault } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import type { Redis } from 'ioredis'
import type { types as mediasoup } from 'mediasoup'
import type { z } from 'zod'
import type { FeatureConfig } from '../config.ts'
import type { Admin } from '../admin/index.ts'
import type { JobsRegistrar } from '../jobs/runner.ts'
import type { Bus } from '../cluster/bus.ts'
import type { Cluster } from '../cluster/messages.ts'
import type { ContractTables } from '../schema/contract.ts'
import type { SessionDirectory } from '../directory/directory.ts'
import type { Drain } from '../drain.ts'
import type { HookCaller, HookRegistrar, KernelHooks } from '../hooks.ts'
import type { FeatureMessages } from '../dispatch/index.ts'
import type { GateRegistrar } from '../gate/gate.ts'
import type { RequestMap } from '../schema/messages.ts'
import type { Clock } from '../clock.ts'
import type { Metrics } from '../metrics.ts'
import type { Rooms } from '../rooms/rooms.ts'
import type { Sfu } from '../media/sfu.ts'
import type { FeatureSockets } from '../connections/sockets.ts'
import type {} from '../connections/index.ts'
import type { Blobs } from '../blobs/blobs.ts'
import type { KeyValue } from '../kv/kv.ts'
import type { RoomStore } from '../store/store.ts'
import type { Features } from './index.ts'
import type { Keep } from './generation.ts'
// This file also loads the kernel's type augmentations, so that features need to import only this file.
import type {} from '../cluster/index.ts'
import type {} from '../directory/index.ts'
import type {} from '../jobs/index.ts'
import type {} from '../blobs/index.ts'
import type {} from '../gate/index.ts'
import type {} from '../kv/index.ts'
import type {} from '../health.ts'
import type {} from '../redis/index.ts'
import type {} from '../store/index.ts'

/**
 * The objects that `features.getFeature` returns, by feature name. A feature declares the object that it provides. If
 * several features can provide the object, the feature that uses the object declares it, as `gifts` does for
 * `laravel-bridge`. For example:
 *
 * ```ts
 * declare module 'flylive-audio-server/feature' {
 *   interface FeatureSlots { seats: Seats }
 * }
 * ```
 */
export interface FeatureSlots {}

/**
 * The hooks that features call, by name. The feature that calls a hook declares the hook here, as in
 * {@link FeatureSlots}. A hook's name begins with the feature's name, such as `gifts:accepted`.
 */
export interface FeatureHooks {}

interface AllHooks extends KernelHooks, FeatureHooks {}

/** A feature can handle all hooks, but can call only the hooks in {@link FeatureHooks}. */
export interface FeatureHookRegistrar extends HookRegistrar<AllHooks>, HookCaller<FeatureHooks> {}

/** The methods of the room store that features can call. */
export interface FeatureStore extends Pick<RoomStore,
  'kind' | 'ban' | 'unban' | 'listBans' | 'listEmptyRooms' | 'forgetEmptyRoom' |
  'getRoom' | 'listRooms' | 'listBusyRooms' | 'getParticipants' | 'listParticipants' | 'getMembers' | 'getSomeMembers'> {
  /**
   * @param last maximum number of entries; only the newest entries are returned. Default: all
   * @returns the entries that the feature has logged for a room with `rooms.emitLogged`, oldest first
   */
  readLog (roomId: string, last?: number): Promise<string[]>
}

/** The kernel's API for features: each property is a decorator of the feature's Fastify instance. */
export interface FeatureSurface {
  /**
   * The kernel's settings (config/schema.ts), without secrets. A feature receives its own settings as
   * its plugin options.
   */
  config: FeatureConfig
  /** Unique id of this process: NODE_ID plus a suffix that differs on each start. */
  nodeId: string
  /** The clock for deadlines and timestamps, synchronised across all servers. */
  clock: Clock
  /** Counters, gauges and histograms, which survive a reload. */
  metrics: Metrics
  /**
   * Registers requests and events. All registrations are removed when the feature is unloaded. `dispatch` runs a
   * request for a session.
   */
  messages: FeatureMessages
  /**
   * The feature's own HTTP prefixes and WebSocket paths. The prefixes and paths are removed when the feature is
   * unloaded.
   */
  gate: GateRegistrar
  /**
   * Handles kernel hooks (`KernelHooks`) and feature hooks (`FeatureHooks`), and calls feature hooks. Handlers are
   * removed when the feature is unloaded.
   */
  hooks: FeatureHookRegistrar
  /**
   * Scheduled jobs. Each job runs on one server; if that server dies, another server runs it. Handlers are
   * removed when the feature is unloaded.
   */
  jobs: JobsRegistrar
  /** Messages between servers, and cluster-wide locks. Handlers are removed when the feature is unloaded. */
  cluster: Cluster
  /**
   * Messages between servers. All servers receive the messages of a channel in the same order. Begin
   * channel names with the feature's name, and unsubscribe in onClose.
   */
  bus: Pick<Bus, 'publish' | 'subscribe' | 'unsubscribe'>
  /** Rooms, members, roles, events to all members of a room, and shared room state. */
  rooms: Pick<Rooms, 'size' | 'get' | 'local' | 'ofSession' | 'roomState' | 'roleOf' | 'roleOfUser' | 'ownerOf' | 'ownersOf' | 'overviewsOf' | 'reviewOwner' | 'detailsOf' | 'hasPin' | 'checkPin' | 'update' | 'lock' | 'unlock' | 'adminsOf' | 'rolesOf' | 'setRole' | 'transfer' | 'touch' | 'defaultRoleOf' | 'emit' | 'emitLogged' | 'emitUnlogged' | 'sendHere' | 'sendTo' | 'close' | 'kick' | 'kickHere'>
  /** Sessions on this server, with or without a socket, and events to a user's sessions on all servers. */
  sockets: FeatureSockets
  /** Audio: transports, producers, consumers, active speakers. */
  sfu: Omit<Sfu, 'workers' | 'mixThreads' | 'relays' | 'load' | 'workersCpuMs' | 'readProducers'>
  /**
   * Values by key, with an optional expiry. The values survive a crash. Begin the name of a namespace with the
   * feature's name.
   */
  kv: Pick<KeyValue, 'namespace' | 'plainKeys'>
  /**
   * Large values by key, as streams. The values are stored in files on this server or in an S3 bucket. Begin
   * keys with the feature's name.
   */
  blobs: Blobs
  /** The records and members of all rooms, on all servers, and the feature's own log for each room. */
  store: FeatureStore
  /**
   * The server's Redis connection, for a feature that needs its own data structures; undefined if Redis is not
   * configured. Begin keys with `msab:` and the feature's name. Pass all of a script's keys in KEYS, because with Redis
   * Cluster, the client adds a prefix to these keys.
   */
  redis: Redis | undefined
  /** Each user's sessions, on all servers. */
  directory: Pick<SessionDirectory, 'sessionsOf'>
  /** Other running features. */
  features: Pick<Features, 'enabled' | 'getFeature' | 'isEnabled'>
  /** Resources that outlive a reload. */
  keep: Keep
  /**
   * Logs changes by admins and hosts, and checks the admin key of requests outside /admin. Routes under /admin require
   * the key automatically.
   */
  admin: Pick<Admin, 'audit' | 'identify'>
  /** Returns the current API contract. The object changes only when a feature is loaded, reloaded or unloaded. */
  contract (): ContractTables
  /**
   * Tells whether this server rejects new connections and rooms because of a shutdown, or because an admin is draining
   * it.
   */
  drain: Pick<Drain, 'draining'>
}

type Instance = FastifyInstance<RawServerDefault, IncomingMessage, ServerResponse, FastifyBaseLogger, ZodTypeProvider>

/** Decorators of the kernel's Fastify instance that features cannot use. */
type KernelOnly =
  'health' | 'jobStore' | 'leases' | 'registrations' |
  'verifyBearerAuth' | 'verifyBearerAuthFactory' | 'websocketServer' | 'injectWS' | 'createRateLimit' | 'rateLimit' |
  'server' | 'listen' | 'close' | 'ready' | 'routing'

/**
 * The Fastify instance that a feature receives. The instance has the decorators of {@link FeatureSurface} and of the
 * feature's dependencies. Routes are typed by their zod schemas. A feature that adds decorators declares the decorators
 * in this interface, with `declare module 'flylive-audio-server/feature'`.
 */
export interface FeatureInstance extends Omit<Instance, keyof FeatureSurface | KernelOnly>, FeatureSurface {}

/** The exports of a feature's module (index.ts, index.js or index.mjs). */
export interface FeatureExports {
  default: FastifyPluginAsync<Record<string, unknown>>
  /**
   * The requests that the feature handles. The feature cannot register other requests. While the feature is off, the
   * server rejects these requests with FEATURE_DISABLED.
   */
  requests?: RequestMap
  /** Schema of the feature's settings. Unknown settings are rejected. */
  config?: z.ZodObject
  /**
   * The feature's own errors, for the generated contract. For example,
   * `{EmojiNotAllowed: createError('EMOJI_NOT_ALLOWED', …)}`.
   */
  errors?: Readonly<Record<string, unknown>>
  /** The feature's version. Default: the version of the feature's package. */
  version?: string
}

/** The server's own zod, so that an external feature does not need its own copy. */
export { z } from 'zod'
export { defineFeature } from './define.ts'
// Settings: `fromEnv('NAME', schema, read.number)`, `secret(schema)`.
export { fromEnv, read, secret } from '../schema/variables.ts'
export type { FeatureMeta } from './define.ts'

// Errors. Features create their own errors with createError. Clients receive every error that has a code.
export { default as createError } from '@fastify/error'
export {
  Draining, FeatureDisabled, Forbidden, isCoded, NotFound, Overloaded, RateLimited, rateLimited,
  Unauthorized, Unavailable, unavailable, ValidationFailed, validationFailed, withDetails
} from '../errors/codes.ts'
export type { CodedError, WireError } from '../errors/codes.ts'
export { refusals, wireError } from '../errors/refusals.ts'
export type { ErrorClass } from '../errors/error-codes.ts'
export { timeoutSignal, withTimeout } from '../errors/timeout.ts'
export { CannotTargetSelf, NotInRoom, RoomNotFound } from '../rooms/errors.ts'
// A room without an owner is managed by a feature (see the `room:admit` hook).
export { hasOwner, noOwner } from '../rooms/rooms.ts'
// Reads the data for a join reply in the same round trip to the store as the join.
export { readWithJoin } from '../rooms/read-with-join.ts'
export { PinRequired, PinWrong, RoomLocked } from '../store/errors.ts'
// `createEvent` creates the events for rooms.sendHere, rooms.sendTo and session.write. A face (the message format of
// one kind of client) uses `parseClientJson` to parse JSON from clients.
export { createEvent, parseClientJson } from '../connections/face.ts'
export { webSocketFrame } from '../connections/web-socket-link.ts'

// Schemas for ids and public user profiles. `userKeyOf` converts a user id to a string, for comparisons.
export { profile, roomId, userId, userIdText } from '../schema/ids.ts'
export { userKeyOf } from '../connections/session.ts'

// Text in any language; its length is counted in code points. The server itself checks the text in requests. Features
// use `findTextIssue` to check the text in other data from clients.
export { findTextIssue, text } from '../schema/texts.ts'
// Tests whether text matches a search query.
export { createSearch, query } from '../schema/search.ts'

// Pagination of lists.
export { cursor, cursorBehind, keyBehind, maxPageBytes, nextCursor, pageOf } from '../schema/pages.ts'
// Opens a feature's own S3 bucket as a blob store.
export { openBucket } from '../blobs/bucket.ts'
export type { S3Options } from '../blobs/bucket.ts'

// Lua scripts on `app.redis`.
export { redisScript } from '../redis/script.ts'
export type { RedisScript } from '../redis/script.ts'

// Size limits of events and replies.
export { fitting, maxEventBytes } from '../schema/sizes.ts'

export type { FastifyBaseLogger as Logger, FastifyReply as HttpReply, FastifyRequest as HttpRequest } from 'fastify'
export type { Redis } from 'ioredis'
export type { Keep } from './generation.ts'
export type { FeatureConfig } from '../config.ts'
export type { Admin, Seating } from '../admin/index.ts'
export type { JobsRegistrar, JobHandler } from '../jobs/runner.ts'
export type { Bus, BusHandler } from '../cluster/bus.ts'
// `export *` lets `declare module 'flylive-audio-server/feature'` extend ClusterMessages.
export * from '../cluster/messages.ts'
export type { HookFunction, HookName, HookRegistrar, KernelHooks } from '../hooks.ts'
export type { ConnectionPath, GateRegistrar, HandledPath, HttpHandler, HttpPathOptions, UpgradePath } from '../gate/gate.ts'
export type { FeatureMessages } from '../dispatch/index.ts'
export type { MessageDispatcher } from '../dispatch/execution.ts'
export type { Handler, MessageContext, MessageOptions, MessageRegistrar } from '../dispatch/routes.ts'
export type { CloseCode, ContractTables, ErrorCode, EventContract, RequestContract, RouteContract } from '../schema/contract.ts'
export type { EventMap, MessageSchemas, RequestMap } from '../schema/messages.ts'
export type { Clock } from '../clock.ts'
export type { Metrics } from '../metrics.ts'
export type { Decide, Decision, RoomState, RoomStateHandle, RoomEvent } from '../rooms/room-state.ts'
export type { RoomDetails } from '../rooms/details.ts'
export type { GivenRole } from '../rooms/ownership.ts'
export type { LocalRoom } from '../rooms/node-rooms.ts'
export type { RoomCloseReason } from '../rooms/messages.ts'
export type { EmitOptions, LeaveReason, LoggedEvent, Role, PinRequest, RoomOverview, RoomRequest, Rooms } from '../rooms/rooms.ts'
export type DtlsParameters = mediasoup.DtlsParameters
export type RtpCapabilities = mediasoup.RtpCapabilities
export type RtpParameters = mediasoup.RtpParameters
export type { PausedBy, ProducePermit, ProducerHandle, ProducerInfo, ProducerOwner, ProducerSource } from '../media/producer.ts'
export type { InjectOptions, Injection, InjectionEvents } from '../media/injection.ts'
export type { RoomMix } from '../media/mix/mixes.ts'
export type { MixFrame, MixStreams } from '../media/mix/messages.ts'
export type { ConsumeOptions, ConsumerInfo, Sfu } from '../media/sfu.ts'
export type { Tap, TapEvents, TapOptions, TappedVoice } from '../media/tap.ts'
export type { CloseReason } from '../connections/close-codes.ts'
export type { Face, FaceEvent, OutgoingEvent, ParsedMessage } from '../connections/face.ts'
export type { ClientConnection } from '../connections/admission.ts'
export type { Authenticator } from '../connections/authenticator.ts'
export type { Link } from '../connections/link.ts'
export type { FeatureSockets, OpenOptions } from '../connections/sockets.ts'
export type { Identity, Profile, Session, User, UserId } from '../connections/session.ts'
export type { SessionDirectory, SessionRecord } from '../directory/directory.ts'
export type { BlobInfo, Blobs, ByteRange } from '../blobs/blobs.ts'
export type { Expiry, KeyValue, Namespace, PlainKeys } from '../kv/kv.ts'
export type { RoomStore } from '../store/store.ts'
export type { Arrival, Ban, BanOptions, RoomPage, RoomRecord, RoomSummary } from '../store/types.ts'
