import type { z } from 'zod'

/** The contract of a request: its data and its reply. */
export interface MessageSchemas {
  request: z.ZodObject
  reply: z.ZodType
}

/** The requests that a feature defines in its messages.ts, by type. */
export type RequestMap = Readonly<Record<string, MessageSchemas>>
/** The events that a feature defines in its messages.ts, by type. */
export type EventMap = Readonly<Record<string, z.ZodType>>
