import type { FastifyBaseLogger } from 'fastify'
import type { z } from 'zod'
import type { LocalRoom } from '../rooms/local-room.ts'
import { roomId } from '../schema/ids.ts'
import type { EventMap, MessageSchemas } from '../schema/messages.ts'
import type { Session } from '../connections/session.ts'

export interface MessageOptions extends MessageSchemas {
  /**
   * Whether the request is about a room. Then its data may have `roomId`, which
   * must be the sender's room and defaults to it. On by default.
   */
  room?: boolean
  /** Later messages of the same socket wait until this one is answered. */
  exclusive?: boolean
  /** Maximum requests per user and minute, over all servers. */
  limit?: { perMinute: number, perRoom?: boolean }
}

/** The context of a request. */
export interface MessageContext<R = LocalRoom> {
  session: Session
  /** The room the message is about; the sender is in it. */
  room: R
  log: FastifyBaseLogger
  /** Runs `fn` after the reply is sent. */
  afterReply (fn: () => void): void
}

export type Handler<S extends MessageSchemas, R> =
  (data: z.output<S['request']>, context: MessageContext<R>) => z.input<S['reply']> | Promise<z.input<S['reply']>>

/** What features see of the message router. */
export interface MessageRegistrar {
  /**
   * Handles a type of request. The data and the reply are validated;
   * errors with a code are sent to the client. Removed with its
   * feature.
   */
  on<S extends MessageOptions> (type: string, options: S, handler: Handler<S, S['room'] extends false ? undefined : LocalRoom>): void
  /** Makes events part of the contract. */
  events (events: EventMap): void
  /**
   * Declares the fields that a hook of the feature adds to a message of another
   * owner: to the reply of a request (`room:join`), or to an event (`session:ready`).
   */
  adds (to: string, fields: z.ZodObject): void
}

export interface MessageRoute extends MessageOptions {
  type: string
  handler: (data: never, context: MessageContext<never>) => unknown
}

/** All that one owner adds to the contract; applied and withdrawn as a whole. */
export interface MessageTable {
  routes: readonly MessageRoute[]
  events: EventMap
  additions: readonly Addition[]
}

/** Fields added to a message of another owner. */
export interface Addition {
  /** The type of a request, whose reply has the fields, or of an event. */
  to: string
  fields: z.ZodObject
}

/**
 * Collects registrations, to be installed atomically.
 *
 * @param claim called for each type before it is registered; throws if it is not allowed
 */
export function createMessageRecorder (claim: (type: string) => void = () => {}): MessageRegistrar & { table: { routes: MessageRoute[], events: Record<string, z.ZodType>, additions: Addition[] } } {
  const table: { routes: MessageRoute[], events: Record<string, z.ZodType>, additions: Addition[] } = { routes: [], events: {}, additions: [] }
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
    }
  }
}

/** Adds `roomId` to the schema of a request about a room; keeps the schema's description. */
function withRoom (request: z.ZodObject): z.ZodObject {
  const extended = request.extend({ roomId: roomId.optional().describe("Default: the sender's room") })
  const meta = request.meta()
  return meta === undefined ? extended : extended.meta(meta)
}
