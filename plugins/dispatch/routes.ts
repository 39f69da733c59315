import type { FastifyBaseLogger } from 'fastify'
import type { z } from 'zod'
import type { Registration, Registrations } from '../registrations.ts'
import type { LocalRoom } from '../rooms/node-rooms.ts'
import { roomId } from '../schema/ids.ts'
import type { EventMap, MessageSchemas } from '../schema/messages.ts'
import type { Session } from '../connections/session.ts'

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

/** Everything that one owner (the kernel or a feature) adds to the contract. */
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

declare module '../registrations.ts' {
  interface RegistrationKinds {
    /** Handlers of requests, by message type. */
    message: MessageRoute
    /** Schemas of events, by event type. */
    event: z.ZodType
    /** Fields that owners add to other owners' replies and events, by message type. */
    addition: z.ZodObject
    /** Fields that owners add to other owners' requests, by message type. */
    accepted: z.ZodObject
    /** The message types that a feature exports. They are registered even while the feature is off. */
    exportedType: true
  }
}

const nothing: MessageTable = { routes: [], events: {}, additions: [], accepted: [] }

/**
 * @param claim called for each type before it is registered; throws if the type is not allowed
 * @param check called with each registration before it takes effect; throws if it declares a field of another owner
 */
export function createMessageRegistrar (registrations: Registrations, claim: (type: string) => void, check: (added: MessageTable) => void = () => {}): MessageRegistrar {
  return {
    on (type, options, handler) {
      if (registrations.has('message', type)) throw new Error(`The message type ${type} is registered twice`)
      claim(type)
      const request = options.room === false ? options.request : withRoom(options.request)
      const route = { ...options, request, type, handler: handler as MessageRoute['handler'] }
      check({ ...nothing, routes: [route] })
      registrations.add('message', type, route)
    },
    events (events) {
      check({ ...nothing, events })
      for (const [type, schema] of Object.entries(events)) registrations.add('event', type, schema)
    },
    adds (to, fields) {
      check({ ...nothing, additions: [{ to, fields }] })
      registrations.add('addition', to, fields)
    },
    accepts (to, fields) {
      check({ ...nothing, accepted: [{ to, fields }] })
      registrations.add('accepted', to, fields)
    }
  }
}

/** @returns what an owner adds to the contract */
export function messageTable (registrations: Registrations): MessageTable {
  const additionsOf = (kind: 'addition' | 'accepted') => registrations.entries(kind).map(([to, fields]) => ({ to, fields }))
  return {
    routes: registrations.entries('message').map(([, route]) => route),
    events: Object.fromEntries(registrations.entries('event')),
    additions: additionsOf('addition'),
    accepted: additionsOf('accepted')
  }
}

/**
 * Creates a function that adds the fields of other owners to a schema. The function extends a schema again only after
 * the fields have changed, because zod compiles each new schema on its first use.
 */
export function createSchemaExtender (): <T extends z.ZodType>(schema: T, fields: readonly Registration<z.ZodObject>[]) => T {
  const extended = new WeakMap<z.ZodType, { fields: readonly Registration<z.ZodObject>[], schema: z.ZodType }>()
  return <T extends z.ZodType>(schema: T, fields: readonly Registration<z.ZodObject>[]): T => {
    let known = extended.get(schema)
    if (known?.fields !== fields) extended.set(schema, known = { fields, schema: withFields(schema, fields.map(({ value }) => value)) })
    return known.schema as T
  }
}

/**
 * Adds fields to a message's schema and keeps the schema's description.
 *
 * @returns the extended schema; the unchanged schema if it is not an object schema or there are no fields to add
 */
export function withAdditions<T extends z.ZodType> (type: string, schema: T, additions: readonly Addition[]): T {
  return withFields(schema, additions.filter(({ to }) => to === type).map(({ fields }) => fields))
}

function withFields<T extends z.ZodType> (schema: T, added: readonly z.ZodObject[]): T {
  if (added.length === 0 || !isObject(schema)) return schema
  const whole = added.reduce<z.ZodObject>((object, fields) => object.extend(fields.shape), schema)
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
