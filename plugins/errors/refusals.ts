import { z } from 'zod'
import { codesOf } from './error-codes.ts'
import type { ErrorClass } from './error-codes.ts'

/** The one shape of an error over REST. */
export const wireError = z.object({
  error: z.object({
    code: z.string(),
    message: z.string(),
    details: z.unknown().optional().describe('What a program can act on; its form goes with the code')
  })
})

/**
 * What a route may answer besides what it is for, to be spread into its
 * `response`. Status and code are those of the errors themselves; what every
 * route may answer (wrong data, no key, too many calls) need not be named.
 *
 * @param errors constructors from an errors.ts
 * @returns schemas by HTTP status. Its type has no keys: what handlers return is checked against the others
 */
export function refusals (...errors: ErrorClass[]): Record<never, never> {
  const byStatus = Map.groupBy(codesOf('', Object.fromEntries(errors.entries())), ({ status }) => status)
  return Object.fromEntries([...byStatus].map(([status, codes]) =>
    [status, wireError.describe(codes.map(({ code, meaning }) => `\`${code}\` ${meaning}`).join('. '))]))
}
