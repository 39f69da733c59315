import { adminStrings } from '../strings.ts'

const { config: words } = adminStrings

/** A form field for one setting of a feature. */
export interface Field {
  name: string
  /**
   * `lines` means a list of strings that is edited as one string per line. `json` means any other value, which is
   * edited as JSON.
   */
  kind: 'number' | 'choice' | 'text' | 'lines' | 'json'
  /** For `choice`: values and labels. */
  choices: readonly (readonly [unknown, string])[]
  /** For `number`: the smallest and the largest value that the setting can have. */
  least: number | undefined
  most: number | undefined
  /** The value of the setting as text; empty if the setting has no value. */
  text: string
  help: string
}

type Schema = Record<string, unknown>
const isObject = (value: unknown): value is Schema => typeof value === 'object' && value !== null && !Array.isArray(value)

/**
 * @param schema JSON Schema of all settings
 * @param config the current settings
 */
export function fieldsOf (schema: Schema, config: Schema): Field[] {
  const properties = isObject(schema.properties) ? schema.properties : {}
  return Object.entries(properties).map(([name, property]) => {
    const type = isObject(property) ? property : {}
    const kind = kindOf(type)
    return { name, kind, choices: choicesOf(type), least: bound(type.minimum), most: bound(type.maximum), text: textOf(kind, config[name]), help: helpOf(kind, type) }
  })
}

function kindOf ({ type, enum: values, items }: Schema): Field['kind'] {
  if (Array.isArray(values) || type === 'boolean') return 'choice'
  if (type === 'number' || type === 'integer') return 'number'
  if (type === 'string') return 'text'
  return type === 'array' && isObject(items) && items.type === 'string' && !('enum' in items) ? 'lines' : 'json'
}

function choicesOf ({ type, enum: values }: Schema): Field['choices'] {
  if (Array.isArray(values)) return values.map((value: unknown) => [value, String(value)] as const)
  return type === 'boolean' ? [[true, words.on], [false, words.off]] : []
}

function textOf (kind: Field['kind'], value: unknown): string {
  if (value === undefined || value === null) return ''
  if (kind === 'json') return JSON.stringify(value, null, 2)
  return kind === 'lines' && Array.isArray(value) ? value.join('\n') : String(value)
}

/** @returns a limit of a number; undefined for the limits that every integer has */
function bound (value: unknown): number | undefined {
  return typeof value === 'number' && Math.abs(value) < Number.MAX_SAFE_INTEGER ? value : undefined
}

function helpOf (kind: Field['kind'], { description, default: standard, minimum, maximum }: Schema): string {
  const parts = [
    description,
    kind === 'number' && words.range(bound(minimum), bound(maximum)),
    kind === 'lines' && words.lines,
    kind === 'json' && words.json,
    ['number', 'text', 'choice'].includes(kind) && standard !== undefined && words.standardIs(typeof standard === 'boolean' ? (standard ? words.on : words.off) : String(standard))
  ]
  // Most descriptions end with a full stop.
  return parts.filter((part) => typeof part === 'string' && part !== '').join('. ').replaceAll('.. ', '. ')
}

/** The changed settings, which must be sent to the server, and the validation errors by field name. */
export interface Changes {
  changes: Record<string, unknown>
  problems: Record<string, string>
}

/** @param texts the user's input by field name; unchanged fields are omitted from the result */
export function changesOf (fields: readonly Field[], texts: Readonly<Record<string, string>>): Changes {
  const result: Changes = { changes: {}, problems: {} }
  for (const field of fields) {
    const text = (texts[field.name] ?? '').trim()
    if (text === field.text.trim()) continue
    try {
      result.changes[field.name] = text === '' ? null : valueOf(field, text)
    } catch (error) {
      result.problems[field.name] = (error as Error).message
    }
  }
  return result
}

function valueOf ({ kind, choices, least = -Infinity, most = Infinity }: Field, text: string): unknown {
  if (kind === 'choice') return choices.find(([value]) => String(value) === text)?.[0]
  if (kind === 'lines') return text.split('\n').map((line) => line.trim()).filter((line) => line !== '')
  if (kind === 'json') return parseJson(text)
  if (kind === 'text') return text
  const number = Number(text)
  if (!Number.isFinite(number)) throw new Error(words.notANumber)
  if (number < least || number > most) throw new Error(words.notInRange(words.range(bound(least), bound(most))))
  return number
}

function parseJson (text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    throw new Error(words.notJson)
  }
}

/**
 * @param details the details of a VALIDATION_FAILED error
 * @returns the first message of each field, by field name; the key '' has the first message that belongs to no field
 */
export function problemsOf (fields: readonly Field[], details: unknown): Record<string, string> {
  const problems: Record<string, string> = {}
  for (const { path, message } of Array.isArray(details) ? details as { path: string, message: string }[] : []) {
    const name = fields.find((field) => path === field.name || path.startsWith(`${field.name}.`))?.name ?? ''
    problems[name] ??= message
  }
  return problems
}
