import { z } from 'zod'

/**
 * A text in any language, whose length is counted in code points.
 *
 * @param min minimum length
 * @param max maximum length
 */
export function text (min: number, max: number) {
  return z.string().min(min)
    // With the flag `u`, a dot matches one code point, the unit of maxLength in JSON Schema.
    .regex(new RegExp(`^.{0,${max}}$`, 'su'), `must have at most ${max} characters`)
    .meta({ maxLength: max, pattern: undefined })
}
