import { profile, roomId, userId, z } from 'flylive-audio-server/feature'

/** A JSON Schema, with only the keywords that the API documents use. */
export interface JsonSchema {
  $ref?: string
  type?: string | readonly string[]
  description?: string
  const?: unknown
  enum?: readonly unknown[]
  default?: unknown
  examples?: readonly unknown[]
  format?: string
  pattern?: string
  minimum?: number
  maximum?: number
  minLength?: number
  maxLength?: number
  minItems?: number
  maxItems?: number
  properties?: Readonly<Record<string, JsonSchema>>
  required?: readonly string[]
  additionalProperties?: boolean | JsonSchema
  items?: JsonSchema
  anyOf?: readonly JsonSchema[]
  oneOf?: readonly JsonSchema[]
  allOf?: readonly JsonSchema[]
}

/** Schemas that a document defines only once, under these names. Other schemas in the document refer to them. */
export const sharedSchemas = { RoomId: roomId, UserId: userId, Profile: profile }

const refOf = (id: string) => `#/components/schemas/${id}`

/** Removes the minimum and maximum safe integer that zod adds to the schema of every integer. */
export function withoutSafeBounds ({ jsonSchema }: { jsonSchema: object }): void {
  const schema = jsonSchema as JsonSchema
  if (schema.minimum === Number.MIN_SAFE_INTEGER) delete schema.minimum
  if (schema.maximum === Number.MAX_SAFE_INTEGER) delete schema.maximum
}

/**
 * Converts a zod schema to JSON Schema draft 7, the version that AsyncAPI tools support. Shared schemas are replaced by
 * references to the components of the document.
 *
 * @param io `input` for data that clients send, `output` for data that the server sends
 */
export function toJsonSchema (schema: z.ZodType, io: 'input' | 'output'): JsonSchema {
  const known = converted[io].get(schema)
  if (known) return known
  const made = convertOne(schema, io)
  converted[io].set(schema, made)
  return made
}

// Converted schemas are cached, because reloading one feature does not change the schemas of other features.
const converted = { input: new WeakMap<z.ZodType, JsonSchema>(), output: new WeakMap<z.ZodType, JsonSchema>() }

function convertOne (schema: z.ZodType, io: 'input' | 'output'): JsonSchema {
  const registry = z.registry<{ id: string }>()
  for (const [id, shared] of Object.entries(sharedSchemas)) {
    if (shared === schema) return { $ref: refOf(id) }
    registry.add(shared, { id })
  }
  registry.add(schema, { id: 'asked' })
  return convert(registry, io).asked as JsonSchema
}

/** @returns the full JSON Schema of each shared schema, by name */
export function sharedJsonSchemas (): Record<string, JsonSchema> {
  const registry = z.registry<{ id: string }>()
  for (const [id, schema] of Object.entries(sharedSchemas)) registry.add(schema, { id })
  return convert(registry, 'output')
}

function convert (registry: z.core.$ZodRegistry<{ id: string }>, io: 'input' | 'output'): Record<string, JsonSchema> {
  const { schemas } = z.toJSONSchema(registry, { io, target: 'draft-07', unrepresentable: 'any', uri: refOf, override: withoutSafeBounds })
  return Object.fromEntries(Object.entries(schemas).map(([name, { $schema, $id, ...schema }]) => [name, schema as JsonSchema]))
}

/** Replaces a reference (or an `allOf` that contains only a reference) by the schema to which it refers. */
export function resolve (schema: JsonSchema, components: Readonly<Record<string, JsonSchema>>): JsonSchema {
  const { $ref, allOf, ...own } = schema
  const target = $ref ?? (allOf?.length === 1 ? allOf[0]?.$ref : undefined)
  if (target === undefined) return schema
  return { ...resolve(components[target.split('/').at(-1) ?? ''] ?? {}, components), ...own }
}
