import type { z } from 'zod'
import type { Addition, MessageTable } from '../dispatch/routes.ts'
import type { EventContract, RequestContract } from '../schema/contract.ts'

/**
 * Merges the messages that their owners have registered: the kernel's
 * first, then those of features by name, so that the order does not depend on
 * the load order.
 */
export function messagesOf (tables: readonly (MessageTable & { owner: string })[]): { requests: RequestContract[], events: EventContract[] } {
  const sorted = tables.toSorted((a, b) => Number(b.owner === 'kernel') - Number(a.owner === 'kernel') || (a.owner < b.owner ? -1 : 1))
  const additions = sorted.flatMap((table) => table.additions)
  return {
    requests: sorted.flatMap(({ owner, routes }) => routes.map(({ type, request, reply, room, limit }) =>
      ({ type, owner, request, reply: complete(type, reply, additions), room: room !== false, limit }))),
    events: sorted.flatMap(({ owner, events }) => Object.entries(events).map(([type, data]) =>
      ({ type, owner, data: complete(type, data, additions) })))
  }
}

/** Adds fields to an object schema; other schemas are returned unchanged. */
function complete (type: string, schema: z.ZodType, additions: readonly Addition[]): z.ZodType {
  const added = additions.filter(({ to }) => to === type)
  if (added.length === 0 || !isObject(schema)) return schema
  const whole = added.reduce((object, { fields }) => object.extend(fields.shape), schema)
  const meta = schema.meta()
  return meta === undefined ? whole : whole.meta(meta)
}

// Not by instanceof: a feature may use its own copy of zod.
const isObject = (schema: z.ZodType): schema is z.ZodObject => schema.def.type === 'object' && 'extend' in schema
