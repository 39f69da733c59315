import type { z } from 'zod'

/** The contract of a request: its data and its reply. */
export interface MessageSchemas {
  request: z.ZodObject
  reply: z.ZodType
}

/** A feature's requests by type, defined in its messages.ts. */
export type RequestMap = Readonly<Record<string, MessageSchemas>>
/** A feature's events by type, defined in its messages.ts. */
export type EventMap = Readonly<Record<string, z.ZodType>>
