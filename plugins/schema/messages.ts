import type { z } from 'zod'

/** The contract of a request: its data and its reply. */
export interface MessageSchemas {
  request: z.ZodObject
  reply: z.ZodType
}

/** The requests of a feature by type, defined in its messages.ts. */
export type RequestMap = Readonly<Record<string, MessageSchemas>>
/** The events of a feature by type, defined in its messages.ts. */
export type EventMap = Readonly<Record<string, z.ZodType>>
