import fc from 'fast-check'
import { z } from 'zod'

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }
type Schema = Record<string, unknown>

// Replaces fast-check's units `binary` and `grapheme`, because building their tables takes half a second of CPU time.
/** Any code point except surrogates. */
export const codePoint = fc.integer({ min: 0, max: 0x10f7ff }).map((n) => String.fromCodePoint(n < 0xd800 ? n : n + 0x800))
/** Characters that users see. */
const grapheme = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0x20, max: 0x7e }).map((n) => String.fromCodePoint(n)) },
  { weight: 3, arbitrary: fc.integer({ min: 0xa1, max: 0x24f }).map((n) => String.fromCodePoint(n)) },
  { weight: 1, arbitrary: fc.constantFrom('日', 'ع', 'ह', 'e\u0301', '💥', '❤️', '👩‍👩‍👧') }
)

/** Numbers at the limits of common formats. */
const oddNumbers = [0, -0, -1, 1, 1.5, 15, 16, 127, 128, 200, 255, 256, 65_535, 65_536, 2 ** 31 - 1, 2 ** 31, -(2 ** 31) - 1, 2 ** 32 - 1, 2 ** 32, 2 ** 53, 1e21, 1e308, -1e308, 5e-324]
const oddStrings = ['', ' ', '0', '-1', 'null', 'undefined', 'NaN', 'true', '__proto__', 'constructor', 'prototype', 'toString', '\u0000', '\ud800', '\u202e', '%s%d%j', '../..', "';--", '{}', '[]', 'audio/opus', '💥'.repeat(20)]

const deep = (depth: number) => JSON.parse('['.repeat(depth) + ']'.repeat(depth)) as Json
const deepObject = (depth: number) => JSON.parse('{"a":'.repeat(depth) + '1' + '}'.repeat(depth)) as Json

/** Arbitrary JSON, weighted towards unusual values. */
export const garbage: fc.Arbitrary<Json> = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom<Json[]>(null, true, false, [], {}, [[]], [null], { length: 1 }) as fc.Arbitrary<Json> },
  { weight: 4, arbitrary: fc.constantFrom(...oddNumbers) },
  { weight: 4, arbitrary: fc.constantFrom(...oddStrings) },
  { weight: 1, arbitrary: fc.integer({ min: 100, max: 60_000 }).map((length) => 'x'.repeat(length)) },
  { weight: 1, arbitrary: fc.integer({ min: 2, max: 2000 }).map(deep) },
  { weight: 1, arbitrary: fc.integer({ min: 2, max: 2000 }).map(deepObject) },
  { weight: 1, arbitrary: fc.constantFrom('{"__proto__":{"roomId":"r1"}}', '{"constructor":{"prototype":{"ok":true}}}', '{"toString":null,"valueOf":1}', '{"toJSON":1}').map((text) => JSON.parse(text) as Json) },
  { weight: 2, arbitrary: fc.double().map((value) => Number.isFinite(value) ? value : null) },
  { weight: 2, arbitrary: fc.string({ unit: codePoint, maxLength: 300 }) },
  { weight: 3, arbitrary: fc.jsonValue() as fc.Arbitrary<Json> }
)

/**
 * Generates data that matches a Zod schema.
 *
 * @param named arbitraries by property name; an arbitrary generates most values of the property with that name
 */
export function fitting (schema: z.ZodType, named: Readonly<Record<string, fc.Arbitrary<Json>>> = {}): fc.Arbitrary<Json> {
  return build(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as Schema, named)
}

/**
 * Generates data that matches a JSON Schema taken from an API document.
 *
 * @param components schemas for `$ref`, by name
 * @param named arbitraries by property name; an arbitrary generates most values of the property with that name
 */
export function fittingJson (schema: object, components: Readonly<Record<string, object>>, named: Readonly<Record<string, fc.Arbitrary<Json>>> = {}): fc.Arbitrary<Json> {
  return build(inlined(schema, components) as Schema, named)
}

/** Resolves `$ref` and merges `allOf`. */
function inlined (value: unknown, components: Readonly<Record<string, object>>): unknown {
  if (Array.isArray(value)) return value.map((item) => inlined(item, components))
  if (typeof value !== 'object' || value === null) return value
  const { $ref, allOf, ...own } = value as { $ref?: unknown, allOf?: object[] }
  const parts = [...(typeof $ref === 'string' ? [components[$ref.split('/').at(-1) ?? ''] ?? {}] : []), ...allOf ?? []]
  const written = Object.fromEntries(Object.entries(own).map(([key, part]) => [key, inlined(part, components)]))
  return Object.assign({}, ...parts.map((part) => inlined(part, components)), written)
}

function build (schema: Schema, named: Readonly<Record<string, fc.Arbitrary<Json>>>): fc.Arbitrary<Json> {
  const of = (part: unknown) => build(part as Schema, named)
  if (Array.isArray(schema.type)) return fc.oneof(...schema.type.map((type) => of({ ...schema, type })))
  if (Array.isArray(schema.anyOf)) return fc.oneof(...schema.anyOf.map(of))
  if (Array.isArray(schema.oneOf)) return fc.oneof(...schema.oneOf.map(of))
  if ('const' in schema) return fc.constant(schema.const as Json)
  if (Array.isArray(schema.enum)) return fc.constantFrom(...schema.enum as Json[])
  switch (schema.type) {
    case 'null': return fc.constant(null)
    case 'boolean': return fc.boolean()
    case 'integer': return fc.integer({ min: Math.max(Number(schema.minimum ?? -1000), -(2 ** 31)), max: Math.min(Number(schema.maximum ?? 1000), 2 ** 31 - 1) })
    case 'number': {
      const [min, max] = [Number(schema.minimum ?? -(2 ** 31)), Number(schema.maximum ?? 2 ** 31 - 1)]
      return fc.oneof(fc.integer({ min: Math.ceil(min), max: Math.floor(max) }), fc.double({ noNaN: true, noDefaultInfinity: true, min, max }))
    }
    case 'string': return text(schema)
    case 'array': return fc.array(of(schema.items ?? {}), { minLength: Number(schema.minItems ?? 0), maxLength: Math.min(Number(schema.maxItems ?? 5), 5) })
    case 'object': return object(schema, of, named)
    default: return fc.jsonValue() as fc.Arbitrary<Json>
  }
}

function text ({ pattern, minLength = 0, maxLength = 40 }: Schema): fc.Arbitrary<string> {
  if (typeof pattern === 'string') return fc.stringMatching(new RegExp(pattern))
  return fc.string({ unit: grapheme, minLength: Number(minLength), maxLength: Number(maxLength) })
}

function object (schema: Schema, of: (part: unknown) => fc.Arbitrary<Json>, named: Readonly<Record<string, fc.Arbitrary<Json>>>): fc.Arbitrary<Json> {
  const properties = schema.properties as Record<string, unknown> | undefined
  if (!properties) return fc.dictionary(fc.string({ maxLength: 10 }), of(schema.additionalProperties ?? {}), { maxKeys: 5 })
  const model = Object.fromEntries(Object.entries(properties).map(([name, part]) => {
    const own = named[name]
    return [name, own ? fc.oneof({ weight: 8, arbitrary: own }, { weight: 1, arbitrary: of(part) }) : of(part)]
  }))
  return fc.record(model, { requiredKeys: (schema.required ?? []) as string[] }) as fc.Arbitrary<Json>
}

/** A change to a value: removes, replaces, repeats or adds a part. */
type Mutation = readonly [kind: 'remove' | 'replace' | 'repeat' | 'add', where: number, what: Json]

const mutation: fc.Arbitrary<Mutation> = fc.tuple(fc.constantFrom<Mutation[0][]>('remove', 'replace', 'replace', 'replace', 'repeat', 'add') as fc.Arbitrary<Mutation[0]>, fc.nat(10_000), garbage)

/** Generates valid data with one to three random mutations. */
export function nearly (valid: fc.Arbitrary<Json>): fc.Arbitrary<Json> {
  return fc.tuple(valid, fc.array(mutation, { minLength: 1, maxLength: 3 }))
    .map(([value, mutations]) => mutations.reduce(change, value))
}

function change (original: Json, [kind, where, what]: Mutation): Json {
  const value = JSON.parse(JSON.stringify(original)) as Json
  const places: { parent: Json[] | { [key: string]: Json }, key: string | number }[] = []
  const look = (node: Json, depth: number) => {
    if (typeof node !== 'object' || node === null || depth > 20) return
    const keys = Array.isArray(node) ? [...node.keys()] : Object.keys(node)
    for (const key of keys) {
      places.push({ parent: node, key })
      look((node as Record<string | number, Json>)[key] as Json, depth + 1)
    }
  }
  look(value, 0)
  const place = places[where % (places.length + 1)]
  // If the index is past the last part, replace the whole value.
  if (!place) return what
  const parent = place.parent as Record<string | number, Json>
  if (kind === 'remove') {
    if (Array.isArray(place.parent)) place.parent.splice(Number(place.key), 1)
    else delete parent[place.key]
  } else if (kind === 'repeat' && Array.isArray(place.parent)) {
    place.parent.push(JSON.parse(JSON.stringify(parent[place.key])) as Json)
  } else if (kind === 'add' && !Array.isArray(place.parent)) {
    parent[`extra${where % 3}`] = what
  } else {
    parent[place.key] = what
  }
  return value
}

/**
 * Returns fast-check's options for a number of runs. `BAD_INPUT_RUNS` overrides the number; `BAD_INPUT_SEED` reproduces
 * a failed run.
 */
export function tries (runs: number): { numRuns: number, seed?: number } {
  const { BAD_INPUT_RUNS, BAD_INPUT_SEED } = process.env
  return {
    numRuns: BAD_INPUT_RUNS === undefined ? runs : Number(BAD_INPUT_RUNS),
    ...(BAD_INPUT_SEED === undefined ? {} : { seed: Number(BAD_INPUT_SEED) })
  }
}
