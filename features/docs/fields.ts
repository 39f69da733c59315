import { resolve } from './json-schema.ts'
import type { JsonSchema } from './json-schema.ts'

type Components = Readonly<Record<string, JsonSchema>>

/** One row in the table that lists the fields of a message. */
export interface Field {
  /** For example `self.role`, `participants[].userId`. */
  path: string
  /** For example `integer 1–15`, `RoomId[]`, `"left" | "removed"`. */
  type: string
  required: boolean
  text: string
}

/** Fields that are nested more deeply than this are not listed. */
const maxDepth = 4

/**
 * Lists the fields of an object and of the objects nested in it. Shared schemas
 * (such as RoomId and Profile) are listed by name, without their fields.
 */
export function fieldsOf (schema: JsonSchema, components: Components, prefix = '', depth = 0): Field[] {
  const { properties = {}, required = [] } = resolve(schema, components)
  return Object.entries(properties).flatMap(([name, field]) => {
    const path = `${prefix}${name}`
    const own: Field = { path, type: typeOf(field, components), required: required.includes(name), text: textOf(field, components) }
    if (depth >= maxDepth || nameOf(field) !== undefined) return [own]
    const { inner, suffix } = innerOf(field, components)
    return inner ? [own, ...fieldsOf(inner, components, `${path}${suffix}.`, depth + 1)] : [own]
  })
}

/**
 * @returns the schema whose properties to list: if the value is an object, its schema; if it is a list, the schema of
 *   its items
 */
function innerOf (schema: JsonSchema, components: Components): { inner?: JsonSchema, suffix: string } {
  const whole = resolve(schema, components)
  if (whole.properties) return { inner: whole, suffix: '' }
  if (whole.items && nameOf(whole.items) === undefined) {
    const { inner, suffix } = innerOf(whole.items, components)
    return inner ? { inner, suffix: `[]${suffix}` } : { suffix: '' }
  }
  return { suffix: '' }
}

/** @returns the name of the shared schema to which a field refers; undefined if it refers to none */
function nameOf ({ $ref, allOf }: JsonSchema): string | undefined {
  return ($ref ?? (allOf?.length === 1 ? allOf[0]?.$ref : undefined))?.split('/').at(-1)
}

/** @returns a short description of a value's type, on a single line */
export function typeOf (schema: JsonSchema, components: Components): string {
  const name = nameOf(schema)
  if (name !== undefined) return name
  if (schema.const !== undefined) return JSON.stringify(schema.const)
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' | ')
  const parts = schema.anyOf ?? schema.oneOf
  if (parts) return [...new Set(parts.map((part) => typeOf(part, components)))].join(' | ')
  if (Array.isArray(schema.type)) return schema.type.join(' | ')
  switch (schema.type) {
    case 'integer':
    case 'number': return `${schema.type as string}${range(schema.minimum, schema.maximum, ' ')}`
    case 'string': return schema.format ?? 'string'
    case 'array': {
      const items = typeOf(schema.items ?? {}, components)
      return items.includes(' ') ? `(${items})[]` : `${items}[]`
    }
    case 'object': return schema.properties || typeof schema.additionalProperties !== 'object' || Object.keys(schema.additionalProperties).length === 0 ? 'object' : `object of ${typeOf(schema.additionalProperties, components)}`
    case undefined: return 'anything'
    default: return String(schema.type)
  }
}

function textOf (schema: JsonSchema, components: Components): string {
  const { description, default: byDefault } = schema
  const named = nameOf(schema) !== undefined
  const { minLength, maxLength, minItems, maxItems, pattern, type, format, description: general } = resolve(schema, components)
  return [
    description ?? (named ? undefined : general),
    !named && type === 'string' && format === undefined && (minLength !== undefined || maxLength !== undefined) && `${range(minLength, maxLength)} characters`,
    !named && type === 'string' && format === undefined && pattern !== undefined && `like \`${pattern}\``,
    type === 'array' && (minItems !== undefined || maxItems !== undefined) && `${range(minItems, maxItems)} items`,
    byDefault !== undefined && `default \`${JSON.stringify(byDefault)}\``
  ].filter((part) => typeof part === 'string').join('; ')
}

function range (min: number | undefined, max: number | undefined, before = ''): string {
  if (min === undefined && max === undefined) return ''
  if (min === max) return `${before}${min}`
  if (max === undefined) return `${before}≥ ${min}`
  return min === undefined ? `${before}≤ ${max}` : `${before}${min}–${max}`
}
