import type { z } from 'zod'
import type { MessageTable } from './routes.ts'

/** A field of a message, and whether clients send or receive the field. */
interface Field {
  type: string
  name: string
  sent: boolean
}

const namesIn = (schema: z.ZodType) => 'shape' in schema ? Object.keys(schema.shape as object) : []

/**
 * @returns the fields that an owner declares, both for its own messages and for the messages of other owners
 */
function fieldsOf ({ routes, events, additions, accepted }: MessageTable): Field[] {
  const declared: (readonly [type: string, schema: z.ZodType, sent: boolean])[] = [
    ...routes.flatMap(({ type, request, reply }) => [[type, request, true], [type, reply, false]] as const),
    ...Object.entries(events).map(([type, data]) => [type, data, false] as const),
    ...additions.map(({ to, fields }) => [to, fields, false] as const),
    ...accepted.map(({ to, fields }) => [to, fields, true] as const)
  ]
  return declared.flatMap(([type, schema, sent]) => namesIn(schema).map((name) => ({ type, name, sent })))
}

const keyOf = ({ type, name, sent }: Field) => `${type} ${name} ${sent}`

/**
 * Finds fields that two owners declare for the same message, such as the reply to `room:join`. One owner's value would
 * overwrite the other owner's value.
 *
 * @returns one error message per field of `table` that another owner also declares
 */
export function fieldConflicts (table: MessageTable, others: readonly (MessageTable & { owner: string })[]): string[] {
  const owners = new Map(others.flatMap((other) => fieldsOf(other).map((field) => [keyOf(field), other.owner] as const)))
  const conflicts = fieldsOf(table).flatMap((field) => {
    const owner = owners.get(keyOf(field))
    return owner === undefined ? [] : [`The field ${field.name} of ${field.sent ? 'the request ' : ''}${field.type} belongs to ${owner === 'kernel' ? 'the kernel' : owner}`]
  })
  return [...new Set(conflicts)]
}
