import type { HTTPMethods } from 'fastify'
import type { z } from 'zod'

/** An HTTP route. */
export interface RouteContract {
  /** `kernel` or a feature's name. */
  owner: string
  method: HTTPMethods
  /** The route's path, with parameters as `:name`. */
  url: string
  /** The route's `schema`, as it was registered. */
  schema: unknown
}

/** A WebSocket request. */
export interface RequestContract {
  type: string
  owner: string
  request: z.ZodType
  /** Schema of the reply, including the fields that running features add. */
  reply: z.ZodType
  /** Whether the sender must be in a room. */
  room: boolean
  /** The rate limit per user, counted across all servers. */
  limit: { perMinute: number, perRoom?: boolean } | undefined
}

/** A WebSocket event. */
export interface EventContract {
  type: string
  owner: string
  /** Schema of the data, including the fields that running features add. */
  data: z.ZodType
}

/** An error code that the server sends over WebSocket or HTTP. */
export interface ErrorCode {
  code: string
  /** The HTTP status that is sent with the code. */
  status: number
  meaning: string
  /** The feature that defines the code; `kernel` if the kernel defines it. */
  feature: string
}

/** A code that the server sends when it closes a connection. */
export interface CloseCode {
  code: number
  /** The close reason, sent with the code as text. */
  reason: string
  meaning: string
}

/** Everything that clients and admins can currently call or receive. */
export interface ContractTables {
  /** Version of the server. */
  version: string
  /** The kernel's routes come before those of features. */
  routes: readonly RouteContract[]
  requests: readonly RequestContract[]
  events: readonly EventContract[]
  errorCodes: readonly ErrorCode[]
  closeCodes: readonly CloseCode[]
}

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * @returns the contract of the kernel and the running features; the same object until a feature is
     *   loaded, reloaded or unloaded
     */
    contract (): ContractTables
  }
}
