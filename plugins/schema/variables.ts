import { z } from 'zod'
import './union-errors.ts'

// Metadata of feature settings: the environment variable that provides the default, and whether the setting is secret.
// This metadata is attached to the schema.

/** The environment variable that provides a setting's default. */
export interface Variable {
  name: string
  /**
   * Converts the variable's text to the value that the schema validates. If the text has the wrong format, returns the
   * text unchanged.
   */
  read: (text: string) => unknown
}

const variables = z.registry<Variable>()
const secrets = z.registry<{ secret: true }>()

/** Shown instead of a secret's value. */
export const mask = '********'

/**
 * Readers for {@link fromEnv}. A reader returns text with the wrong format unchanged, so that the schema rejects the
 * text.
 */
export const read = {
  number (text: string): unknown {
    // JavaScript converts text that contains only spaces to 0.
    const number = text.trim() === '' ? NaN : Number(text)
    return Number.isNaN(number) ? text : number
  },
  /** Accepts `true`, `1`, `yes`, `on`, `false`, `0`, `no`, `off` and the other words that `z.stringbool` accepts. */
  flag (text: string): unknown {
    const parsed = z.stringbool().safeParse(text)
    return parsed.success ? parsed.data : text
  },
  /** Splits a comma-separated list. Empty items and spaces around items are ignored. */
  list: (text: string): unknown => text.split(',').map((item) => item.trim()).filter(Boolean),
  json (text: string): unknown {
    try {
      return JSON.parse(text)
    } catch {
      return text
    }
  }
} as const

/**
 * Uses an environment variable as a setting's default:
 *
 * ```ts
 * export const config = z.object({
 *   longest: fromEnv('WAVE_LONGEST', z.int().min(1).max(500).default(50), read.number)
 * })
 * ```
 *
 * @param name the variable's name; an empty variable counts as not set
 * @param schema the setting's schema, whose default applies if the variable is not set
 * @param reader converts the variable's text; by default, the text is used unchanged
 * @returns a copy of the schema
 */
export function fromEnv<T extends z.ZodType> (name: string, schema: T, reader: Variable['read'] = (text) => text): T {
  const copy = schema.clone()
  variables.add(copy, { name, read: reader })
  return copy
}

/**
 * Marks a setting, or a part of one, as secret. A setting that contains a secret is masked as a whole wherever settings
 * are shown. The strings in such a setting are also masked in log lines and errors.
 *
 * @returns a copy of the schema
 */
export function secret<T extends z.ZodType> (schema: T): T {
  const copy = schema.clone()
  secrets.add(copy, { secret: true })
  return copy
}

/** @returns the variable that provides a setting's default */
export const variableOf = (field: z.ZodType): Variable | undefined => variables.get(field)

/** The results of {@link isSecret}, cached because each search visits every part of a schema. Schemas do not change. */
const searched = new WeakMap<z.ZodType, boolean>()

/** Whether a setting is secret, or contains a secret. */
export function isSecret (field: z.ZodType): boolean {
  const known = searched.get(field)
  if (known !== undefined) return known
  const found = secrets.get(field) !== undefined || partsOf(field).some(isSecret)
  searched.set(field, found)
  return found
}

/** @returns the parts of a schema: the schemas of its fields, items and options, and the schema that it wraps */
function partsOf ({ def }: z.ZodType): z.ZodType[] {
  // A recursive schema (`lazy`) may contain itself, so its parts are not searched.
  if (def.type === 'lazy') return []
  return Object.entries(def).filter(([name]) => name !== 'checks' && name !== 'catchall').flatMap(([, part]) => schemasIn(part))
}

function schemasIn (part: unknown): z.ZodType[] {
  if (typeof part !== 'object' || part === null) return []
  if ('def' in part && '_zod' in part) return [part as z.ZodType]
  const isPlain = Array.isArray(part) || Object.getPrototypeOf(part) === Object.prototype || Object.getPrototypeOf(part) === null
  return isPlain ? Object.values(part).flatMap(schemasIn) : []
}

const strictSchemas = new WeakMap<z.ZodObject, z.ZodObject>()

/**
 * @returns the schema in strict form, which rejects unknown settings. For the same `schema`, always returns the same
 *   object, because zod compiles each schema on its first use
 */
export function strictly (schema: z.ZodObject): z.ZodObject {
  const strict = strictSchemas.get(schema) ?? schema.strict() as z.ZodObject
  strictSchemas.set(schema, strict)
  return strict
}

const fieldsOf = (schema: z.ZodObject) => Object.entries(schema.shape as Record<string, z.ZodType>)

/** @returns the settings that environment variables provide, not yet validated */
export function settingsFromEnv (schema: z.ZodObject, env: Readonly<Record<string, string | undefined>>): Record<string, unknown> {
  return Object.fromEntries(fieldsOf(schema).flatMap(([key, field]) => {
    const variable = variableOf(field)
    const text = variable && env[variable.name]
    return text === undefined || text === '' ? [] : [[key, variable?.read(text)]]
  }))
}

/** @returns one line per invalid variable, without the variable's value */
export function problemsInEnv (schema: z.ZodObject, env: Readonly<Record<string, string | undefined>>): string[] {
  const { error } = schema.safeParse(settingsFromEnv(schema, env))
  return (error?.issues ?? []).map((issue) => {
    const field = schema.shape[String(issue.path[0])] as z.ZodType | undefined
    return `${(field && variableOf(field)?.name) ?? String(issue.path[0])}: ${messageOf(issue)}`
  })
}

/** Type names for error messages, by zod type. */
const typeNames: Readonly<Record<string, string>> = { int: 'a whole number', number: 'a number', boolean: 'true or false' }

function messageOf ({ code, message, path, ...issue }: z.core.$ZodIssue): string {
  const type = code === 'invalid_type' && path.length === 1 ? typeNames[(issue as { expected: string }).expected] : undefined
  return type === undefined ? message : `must be ${type}`
}

/** @returns the values of the settings that are secret or contain a secret */
export const secretValues = (schema: z.ZodObject, settings: Readonly<Record<string, unknown>>): unknown[] =>
  fieldsOf(schema).filter(([, field]) => isSecret(field)).map(([key]) => settings[key])

/** @returns the settings, with secrets masked */
export function masked (schema: z.ZodObject, settings: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(settings).map(([key, value]) => {
    const field = schema.shape[key] as z.ZodType | undefined
    const isEmpty = value === undefined || value === null || (Array.isArray(value) && value.length === 0)
    return [key, field && isSecret(field) && !isEmpty ? mask : value]
  }))
}

/** @returns the change, without the secrets whose mask the client sent back unchanged */
export function withoutMasks (schema: z.ZodObject, change: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(change).filter(([key, value]) => {
    const field = schema.shape[key] as z.ZodType | undefined
    return !(value === mask && field && isSecret(field))
  }))
}

const jsonSchemas = new WeakMap<z.ZodObject, Record<string, unknown>>()

/**
 * @returns the JSON Schema of the settings; secrets are `writeOnly`, and each description names the setting's
 *   environment variable. For the same `schema`, always returns the same object
 */
export function settingsJsonSchema (schema: z.ZodObject): Record<string, unknown> {
  const known = jsonSchemas.get(schema)
  if (known) return known
  const topLevel = new Set(fieldsOf(schema).map(([, field]) => field))
  const json = z.toJSONSchema(schema, {
    io: 'input',
    unrepresentable: 'any',
    override: ({ zodSchema, jsonSchema }) => {
      const field = zodSchema as unknown as z.ZodType
      const variable = variableOf(field)
      if (variable) jsonSchema.description = `${jsonSchema.description ?? ''} Environment variable: ${variable.name}.`.trimStart()
      if (!isSecret(field) || !topLevel.has(field)) return
      jsonSchema.writeOnly = true
      delete jsonSchema.default
      delete jsonSchema.examples
    }
  })
  jsonSchemas.set(schema, json)
  return json
}
