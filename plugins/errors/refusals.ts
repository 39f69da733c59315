import { z } from 'zod'
import { codesOf } from './error-codes.ts'
import type { ErrorClass } from './error-codes.ts'

/** The format of every REST error. */
export const wireError = z.object({
  error: z.object({
    code: z.string(),
    message: z.string(),
    details: z.unknown().optional().describe('Machine-readable data; its type depends on the code')
  })
})

/**
 * Returns the schemas of a route's error responses, to be spread into the route's `response`. Do not list errors that
 * every route may return (invalid data, missing key, rate limit), because the generated docs add these errors.
 *
 * @param errors constructors from an errors.ts
 * @returns schemas by HTTP status. The type has no keys, so that handlers are type-checked against the success
 *   responses only
 */
export function refusals (...errors: ErrorClass[]): Record<never, never> {
  const byStatus = Map.groupBy(codesOf('', Object.fromEntries(errors.entries())), ({ status }) => status)
  return Object.fromEntries([...byStatus].map(([status, codes]) =>
    [status, wireError.describe(codes.map(({ code, meaning }) => `\`${code}\` ${meaning}`).join('. '))]))
}
