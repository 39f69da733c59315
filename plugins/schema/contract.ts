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

/** A WebSocket request. */
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

/** A WebSocket event. */
export interface EventContract {
  type: string
  owner: string
  /** With the fields that running features add. */
  data: z.ZodType
}

/** An error code, over WebSocket or HTTP. */
export interface ErrorCode {
  code: string
  /** Its HTTP status. */
  status: number
  meaning: string
  /** The feature it belongs to; `kernel` if any route or request can return it. */
  feature: string
}

/** A code with which the server closes a connection. */
export interface CloseCode {
  code: number
  /** Sent with the code, as text. */
  reason: string
  meaning: string
}

/** Everything that clients and admins can currently call or receive. */
export interface ContractTables {
  /** Version of the server. */
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
