import { z } from 'zod'

/**
 * Text in any language. The length is counted in code points.
 *
 * @param min minimum length
 * @param max maximum length
 */
export function text (min: number, max: number) {
  return z.string().min(min)
    // With the `u` flag, a dot matches one code point, which is also the unit of maxLength in JSON Schema.
    .regex(new RegExp(`^.{0,${max}}$`, 'su'), `must have at most ${max} characters`)
    .meta({ maxLength: max, pattern: undefined })
}

/**
 * Whether a string contains neither a NUL character nor an unpaired surrogate. JSON strings can contain these, but some
 * databases reject NUL characters, and UTF-8 cannot represent unpaired surrogates. Two user ids that differ only in an
 * unpaired surrogate would become the same Redis key.
 */
export const isStorable = (text: string): boolean => text.isWellFormed() && !text.includes('\0')

/** The validation error for a string that {@link isStorable} rejects, with the fields of a zod issue. */
export interface TextIssue {
  path: PropertyKey[]
  message: string
}

/**
 * Searches a value, including the keys of objects, for a string that {@link isStorable} rejects.
 *
 * @param value must not be deeply nested, because the function is recursive
 * @returns the issue for the first such string; undefined if there is none
 */
export function findTextIssue (value: unknown): TextIssue | undefined {
  if (typeof value === 'string') return isStorable(value) ? undefined : { path: [], message: 'must not contain a NUL character or an unpaired surrogate' }
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return
  const isList = Array.isArray(value)
  for (const [key, part] of Object.entries(value)) {
    if (!isList && !isStorable(key)) return { path: [], message: 'must not have a field whose name contains a NUL character or an unpaired surrogate' }
    const issue = findTextIssue(part)
    if (!issue) continue
    issue.path.unshift(isList ? Number(key) : key)
    return issue
  }
}
