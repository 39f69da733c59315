import { validatorCompiler } from 'fastify-type-provider-zod'
import type { z } from 'zod'

/** Zod's result, with the issues of an invalid input. */
export type InputResult<T> = { success: true, data: T } | { success: false, issues: readonly Pick<z.core.$ZodIssue, 'path' | 'message'>[] }

/**
 * Validates data from clients. Zod applies length limits to any value with a `length`, even an object, so
 * `{"length":{"valueOf":1,"toString":""}}` makes it throw a TypeError.
 */
export function checkInput<T> (schema: z.ZodType<T>, input: unknown): InputResult<T> {
  try {
    const { success, data, error } = schema.safeParse(input)
    return success ? { success, data } : { success, issues: error.issues }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    return { success: false, issues: [{ path: [], message: 'Invalid input' }] }
  }
}

/** Validates the parts of HTTP requests, like {@link checkInput}. */
export const inputValidator: typeof validatorCompiler = (route) => {
  const validate = validatorCompiler(route)
  return (input: unknown) => {
    try {
      return validate(input)
    } catch (error) {
      if (!(error instanceof TypeError)) throw error
      return validate(Symbol('invalid'))
    }
  }
}
