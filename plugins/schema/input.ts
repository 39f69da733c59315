import { validatorCompiler } from 'fastify-type-provider-zod'
import type { z } from 'zod'
import { findTextIssue } from './texts.ts'
import './union-errors.ts'

/** Zod's result, which contains the issues if the input is invalid. */
export type InputResult<T> = { success: true, data: T } | { success: false, issues: readonly Pick<z.core.$ZodIssue, 'path' | 'message'>[] }

/**
 * Validates data from clients against a schema, without further checks. Zod applies length limits to any value that has
 * a `length`, even to objects. The object `{"length":{"valueOf":1,"toString":""}}` therefore makes zod throw a
 * TypeError. This function converts the TypeError to an issue.
 */
export function checkShape<T> (schema: z.ZodType<T>, input: unknown): InputResult<T> {
  try {
    const { success, data, error } = schema.safeParse(input)
    return success ? { success, data } : { success, issues: error.issues }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    return { success: false, issues: [{ path: [], message: 'Invalid input' }] }
  }
}

/**
 * Validates data from clients like {@link checkShape}, and also rejects strings that `isStorable` rejects. Fields that
 * are not in the schema are not checked, because the server ignores them.
 */
export function checkInput<T> (schema: z.ZodType<T>, input: unknown): InputResult<T> {
  const result = checkShape(schema, input)
  const issue = result.success ? findTextIssue(result.data) : undefined
  return issue ? { success: false, issues: [issue] } : result
}

/** @returns a schema that also checks the value with {@link findTextIssue} */
function withStorableTexts (schema: z.ZodType): z.ZodType {
  return schema.superRefine((value, context) => {
    const issue = findTextIssue(value)
    if (issue) context.addIssue({ code: 'custom', ...issue })
  })
}

/** Validates each part of an HTTP request (the body, for example) like {@link checkInput}. */
export const inputValidator: typeof validatorCompiler = (route) => {
  const validate = validatorCompiler({ ...route, schema: withStorableTexts(route.schema as z.ZodType) })
  return (input: unknown) => {
    try {
      return validate(input)
    } catch (error) {
      if (!(error instanceof TypeError)) throw error
      return validate(Symbol('invalid'))
    }
  }
}
