import type { FastifyBaseLogger } from 'fastify'
import type { z } from 'zod'
import { FeatureDisabled, UnknownType } from '../errors/codes.ts'
import type { LocalRoom } from '../rooms/node-rooms.ts'
import { roomId } from '../schema/ids.ts'
import type { EventMap, MessageSchemas } from '../schema/messages.ts'
import type { Session } from '../connections/session.ts'
import { createInFlight } from './in-flight.ts'
import type { InFlight } from './in-flight.ts'

export interface RequestLimit {
  perMinute: number
  /** Whether to count requests per user and room, instead of per user. */
  perRoom?: boolean
  /** Message types with the same limit name share one limit. Default: the message type. */
  name?: string
  /**
   * Whether to count requests without waiting for Redis, unless a user sends many requests at once. Handlers still
   * start in the order in which the requests arrive. A user with sessions on several servers may exceed the limit by a
   * twentieth for each additional server.
   */
  eventual?: boolean
}

export interface MessageOptions extends MessageSchemas {
  /**
   * Whether the request is about the sender's room; true by default. The data of such a request
   * may contain `roomId`, which must be the id of that room.
   */
  room?: boolean
  /** Whether the session's later requests wait until this request finishes. */
  exclusive?: boolean
  /** Whether the request starts immediately, even while an exclusive request of the session is pending. */
  immediate?: boolean
  /** Limits the number of requests per minute. Requests on all servers count together. Default: no limit. */
  limit?: RequestLimit
  /**
   * Shortens a reply whose frame exceeds `maxEventBytes`.
   *
   * @param excess by how much the frame exceeds the limit, in bytes
   */
  shorten?: (reply: never, excess: number) => unknown
}

/** The context of a request. */
export interface MessageContext<R = LocalRoom> {
  session: Session
  /** The sender's room; undefined for requests that are not about a room. */
  room: R
  log: FastifyBaseLogger
  /** Runs `fn` after the reply is sent. */
  afterReply (fn: () => void): void
}

export type Handler<S extends MessageSchemas, R> =
  (data: z.output<S['request']>, context: MessageContext<R>) => z.input<S['reply']> | Promise<z.input<S['reply']>>

/** Registers requests and events. */
export interface MessageRegistrar {
  /**
   * Registers the handler of a request type. The request's data and the reply are validated. The
   * client receives every error that has a code. The handler is removed when its feature is unloaded.
   */
  on<S extends MessageOptions> (type: string, options: S, handler: Handler<S, S['room'] extends false ? undefined : LocalRoom>): void
  /** Adds events to the contract. */
  events (events: EventMap): void
  /**
   * Declares fields that the feature's hook handlers add to another owner's message: to the reply to a
   * request (such as `room:join`) or to an event (such as `session:ready`).
   */
  adds (to: string, fields: z.ZodObject): void
  /**
   * Declares fields that the feature adds to another owner's request. If a `room:join` request creates the room, the
   * values of these fields are also stored in the room record, as `options`.
   */
  accepts (to: string, fields: z.ZodObject): void
}

export interface MessageRoute extends MessageOptions {
  type: string
  handler: (data: never, context: MessageContext<never>) => unknown
}

/**
 * Everything that one owner (the kernel or a feature) adds to the contract. The table is installed and removed as a
 * unit.
 */
export interface MessageTable {
  routes: readonly MessageRoute[]
  events: EventMap
  additions: readonly Addition[]
  /** Fields that this owner adds to other owners' requests. */
  accepted: readonly Addition[]
}

/** Fields that one owner adds to another owner's message. */
export interface Addition {
  /** The type of the request or event. */
  to: string
  fields: z.ZodObject
}

interface RecordedTable extends MessageTable {
  routes: MessageRoute[]
  events: Record<string, z.ZodType>
  additions: Addition[]
  accepted: Addition[]
}

/**
 * Collects registrations so that they can be installed atomically.
 *
 * @param claim called for each type before it is registered; throws if the type is not allowed
 */
export function createMessageRecorder (claim: (type: string) => void = () => {}): MessageRegistrar & { table: RecordedTable } {
  const table: RecordedTable = { routes: [], events: {}, additions: [], accepted: [] }
  return {
    table,
    on (type, options, handler) {
      if (table.routes.some((route) => route.type === type)) throw new Error(`The message type ${type} is registered twice`)
      claim(type)
      const request = options.room === false ? options.request : withRoom(options.request)
      table.routes.push({ ...options, request, type, handler: handler as MessageRoute['handler'] })
    },
    events (events) {
      Object.assign(table.events, events)
    },
    adds (to, fields) {
      table.additions.push({ to, fields })
    },
    accepts (to, fields) {
      table.accepted.push({ to, fields })
    }
  }
}

/**
 * Adds fields to a message's schema and keeps the schema's description.
 *
 * @returns the extended schema; the unchanged schema if it is not an object schema or there are no fields to add
 */
export function withAdditions<T extends z.ZodType> (type: string, schema: T, additions: readonly Addition[]): T {
  const added = additions.filter(({ to }) => to === type)
  if (added.length === 0 || !isObject(schema)) return schema
  const whole = added.reduce<z.ZodObject>((object, { fields }) => object.extend(fields.shape), schema)
  const meta = schema.meta()
  return (meta === undefined ? whole : whole.meta(meta)) as unknown as T
}

// This check does not use instanceof, because a feature may have its own copy of zod.
const isObject = (schema: z.ZodType): schema is z.ZodObject => schema.def.type === 'object' && 'extend' in schema

/**
 * The results of {@link withRoom}. They are reused when a feature is reloaded, because zod compiles each new schema on
 * its first use.
 */
const roomRequests = new WeakMap<z.ZodObject, z.ZodObject>()

/** Adds `roomId` to the schema of a request about a room, and keeps the schema's description. */
function withRoom (request: z.ZodObject): z.ZodObject {
  const known = roomRequests.get(request)
  if (known) return known
  const extended = request.extend({ roomId: roomId.optional().describe("Default: the sender's room") })
  const meta = request.meta()
  const described = meta === undefined ? extended : extended.meta(meta)
  roomRequests.set(request, described)
  return described
}

/** The route of a message type, and the in-flight requests of its owner (the kernel or a feature). */
export interface InstalledRoute {
  route: MessageRoute
  inFlight: InFlight
}

/** The message types that the server currently handles, and their owners. */
export interface RouteTable {
  find (type: string): InstalledRoute | undefined
  /** @throws UNKNOWN_TYPE; FEATURE_DISABLED if the type belongs to a feature that is off */
  resolve (type: string): InstalledRoute
  /** @returns the owner of a message type: the kernel or a feature */
  ownerOf (type: string): string | undefined
  /**
   * Replaces the table of an owner (the kernel or a feature) atomically. In-flight requests finish with the old
   * handlers.
   *
   * @param table the new table; undefined removes all message types of the owner
   * @param inFlight tracks the in-flight requests of the new handlers
   * @throws if a type belongs to another owner; in that case, nothing changes
   */
  install (owner: string, table: MessageTable | undefined, inFlight?: InFlight): void
  /** Sets the message types that are rejected with FEATURE_DISABLED while the feature is off. */
  disable (feature: string, types: readonly string[]): void
  /** @returns the declared schema of an event, including the fields that other owners add */
  eventSchema (type: string): z.ZodType | undefined
  /** The current contract. */
  contract (): (MessageTable & { owner: string })[]
}

export function createRouteTable (): RouteTable {
  const owners = new Map<string, MessageTable>()
  const byType = new Map<string, InstalledRoute & { owner: string }>()
  const disabled = new Map<string, string>()
  let eventSchemas: ReadonlyMap<string, z.ZodType> = new Map()

  /** Rebuilds every request schema so that it includes the fields that other owners add. */
  function acceptFields (): void {
    const accepted = [...owners.values()].flatMap((table) => table.accepted)
    for (const [type, { owner, inFlight }] of byType) {
      const route = owners.get(owner)?.routes.find((one) => one.type === type) as MessageRoute
      byType.set(type, { owner, inFlight, route: { ...route, request: withAdditions(type, route.request, accepted) } })
    }
  }

  function declareEvents (): void {
    const tables = [...owners.values()]
    const additions = tables.flatMap((table) => table.additions)
    eventSchemas = new Map(tables.flatMap(({ events }) => Object.entries(events).map(([type, schema]) => [type, withAdditions(type, schema, additions)] as const)))
  }

  const find = (type: string) => byType.get(type)
  const ownerOf = (type: string) => byType.get(type)?.owner

  return {
    find,
    resolve (type) {
      const installed = find(type)
      if (installed) return installed
      const feature = disabled.get(type)
      throw feature === undefined ? new UnknownType(type) : new FeatureDisabled(feature)
    },
    ownerOf,
    install (owner, table, inFlight = createInFlight()) {
      for (const { type } of table?.routes ?? []) {
        const other = ownerOf(type)
        if (other !== undefined && other !== owner) throw new Error(`The message type ${type} belongs to ${other}`)
      }
      for (const { type } of owners.get(owner)?.routes ?? []) byType.delete(type)
      owners.delete(owner)
      if (table) owners.set(owner, table)
      for (const route of table?.routes ?? []) {
        byType.set(route.type, { route, inFlight, owner })
        disabled.delete(route.type)
      }
      acceptFields()
      declareEvents()
    },
    eventSchema: (type) => eventSchemas.get(type),
    disable (feature, types) {
      for (const [type, owner] of disabled) if (owner === feature) disabled.delete(type)
      for (const type of types) if (!byType.has(type)) disabled.set(type, feature)
    },
    contract: () => [...owners].map(([owner, table]) => ({ owner, ...table }))
  }
}
