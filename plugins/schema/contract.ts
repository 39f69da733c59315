import type { HTTPMethods } from 'fastify'
import type { z } from 'zod'

/** An HTTP route. */
export interface RouteContract {
  /** `kernel` or the name of a feature. */
  owner: string
  method: HTTPMethods
  /** With parameters as `:name`. */
  url: string
  /** The route's `schema`, as it was registered. */
  schema: unknown
}

/** A request of the WebSocket. */
export interface RequestContract {
  type: string
  owner: string
  request: z.ZodType
  /** With the fields that running features add. */
  reply: z.ZodType
  /** Whether its sender must be in a room. */
  room: boolean
  /** Per user, cluster-wide. */
  limit: { perMinute: number, perRoom?: boolean } | undefined
}

/** An event of the WebSocket. */
export interface EventContract {
  type: string
  owner: string
  /** With the fields that running features add. */
  data: z.ZodType
}

/** A code that an error on the WebSocket or over HTTP can carry. */
export interface ErrorCode {
  code: string
  /** The HTTP status that goes with it. */
  status: number
  meaning: string
  /** The feature it belongs to; `kernel` for those that any route or request can return. */
  feature: string
}

/** A code with which the server closes a connection. */
export interface CloseCode {
  code: number
  /** Sent with the code, as text. */
  reason: string
  meaning: string
}

/** Everything that clients and admins can call or receive now, unrendered. */
export interface ContractTables {
  /** Of the server. */
  version: string
  /** The kernel's before those of features. */
  routes: readonly RouteContract[]
  requests: readonly RequestContract[]
  events: readonly EventContract[]
  errorCodes: readonly ErrorCode[]
  closeCodes: readonly CloseCode[]
}

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * @returns the contract without the features that are off; the same object
     *   until a feature is loaded, reloaded or unloaded
     */
    contract (): ContractTables
  }
}
