import { resolve } from './json-schema.ts'
import type { JsonSchema } from './json-schema.ts'

type Components = Readonly<Record<string, JsonSchema>>

const uuid = '01890a5d-ac96-774b-bcce-b302099a8057'

// Maps field names to example values. A value is used if its type matches the schema of the field.
const known: Readonly<Record<string, unknown>> = {
  userId: 42,
  ownerId: 42,
  participants: [{ userId: 42, id: 42, name: 'Ada' }],
  user: { userId: 42, id: 42, name: 'Ada' },
  seatIndex: 3,
  seatCount: 15,
  content: 'Hello!',
  userName: 'Ada',
  timestamp: 1_767_225_600_000,
  expiresAt: 1_767_225_600_000,
  serverTime: 1_767_225_600_000,
  deadline: 1_767_225_600_000,
  features: ['auth', 'media', 'seats'],
  message: 'Seat 3 is already taken',
  fingerprints: [{ algorithm: 'sha-256', value: Array.from({ length: 32 }, (_, i) => i.toString(16).padStart(2, '0').toUpperCase()).join(':') }]
}

/** Example values for strings with a pattern. The first value that matches the pattern is used. */
const texts = ['r1', 'audio/opus', 'gift', uuid, 'ab'.repeat(32), '1', 'a']

/**
 * Returns an example value for a schema. Objects have only their required fields. The result is the same on every call.
 *
 * @param name the name of the field
 */
export function exampleOf (schema: JsonSchema, components: Components, name = ''): unknown {
  const whole = resolve(schema, components)
  if (whole.examples !== undefined && whole.examples.length > 0) return whole.examples[0]
  if (whole.const !== undefined) return whole.const
  if (whole.enum !== undefined) return whole.enum[0]
  const type = Array.isArray(whole.type) ? whole.type[0] as string : whole.type as string | undefined
  if (name in known && isOf(known[name], whole, components)) return known[name]
  const parts = whole.anyOf ?? whole.oneOf
  if (parts?.[0] !== undefined) return exampleOf(parts[0], components, name)
  switch (type) {
    case 'boolean': return false
    case 'integer':
    case 'number': return Math.max(whole.minimum ?? 1, Math.min(1, whole.maximum ?? 1))
    case 'string': return textOf(whole, name)
    case 'array': return Array.from({ length: whole.minItems ?? 0 }, () => exampleOf(whole.items ?? {}, components))
    case 'object': return Object.fromEntries((whole.required ?? []).map((key) => [key, exampleOf(whole.properties?.[key] ?? {}, components, key)]))
    case 'null': return null
    default: return {}
  }
}

function textOf ({ pattern, format, minLength = 0, maxLength = Infinity }: JsonSchema, name: string): string {
  if (pattern !== undefined) return texts.find((text) => new RegExp(pattern).test(text)) ?? ''
  if (format === 'uuid') return uuid
  const plain = /Id$|^id$/.test(name) ? uuid : name || 'text'
  return plain.padEnd(minLength, '.').slice(0, maxLength)
}

/**
 * Whether a value has the type that a schema requires. Other constraints, such as minimum and maximum, are not checked.
 */
function isOf (value: unknown, schema: JsonSchema, components: Components): boolean {
  const { type, anyOf, oneOf } = resolve(schema, components)
  const parts = anyOf ?? oneOf
  if (parts) return parts.some((part) => isOf(value, part, components))
  const own = Array.isArray(value) ? 'array' : value === null ? 'null' : typeof value
  return [type].flat().some((one) => one === own || (one === 'integer' && Number.isInteger(value)))
}
