import type { z } from 'zod'

/** The contract of a request: its data and its reply. */
export interface MessageSchemas {
  request: z.ZodObject
  reply: z.ZodType
}

/** Requests by type, kept in the messages.ts of their feature. */
export type RequestMap = Readonly<Record<string, MessageSchemas>>
/** Events by type, kept in the messages.ts of their feature. */
export type EventMap = Readonly<Record<string, z.ZodType>>
