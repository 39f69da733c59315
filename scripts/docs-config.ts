// Writes .env.example and docs/configuration.md from config/schema.ts.
//
//   npm run docs:config              writes both
//   npm run docs:config -- --check   writes nothing; status 1 when one is stale
import { z } from 'zod'
import development from '../config/development.ts'
import production from '../config/production.ts'
import { requirements, schema, secrets, sections } from '../config/schema.ts'
import test from '../config/test.ts'
import { writeGenerated } from './generated.ts'
import type { Environment } from '../config/schema.ts'

type Name = keyof Environment

/** What each feature in that table makes public. */
const shows: Readonly<Record<keyof typeof production.features, string>> = {
  docs: 'the contract as pages and as OpenAPI and AsyncAPI, under `/docs`',
  lobby: 'lists rooms to anybody with a token',
  stage: 'a page for trying things out, for anybody'
}

const environments = { development, test, production }
const variables = Object.entries(sections)
  .map(([section, fields]) => ({ section, fields: Object.entries(fields) as [Name, z.ZodType][] }))

/** Descriptions of defaults that depend on the machine. */
const machineDefaults: Partial<Record<Name, string>> = {
  NODE_ID: 'the host name',
  MEDIASOUP_WORKERS: 'one a core'
}

/** @returns the content of the generated files by path, identical on every machine */
export function configDocs (): Record<string, string> {
  return { '.env.example': envExample(), 'docs/configuration.md': reference() }
}

function envExample (): string {
  const lines = [
    '# Every variable the server reads, with its default. Copy this file to .env and',
    '# take the # away from those to change. An empty variable counts as not set.',
    '# docs/configuration.md has the same with the values each accepts.',
    '#',
    '# Made by npm run docs:config from config/schema.ts.'
  ]
  for (const { section, fields } of variables) {
    lines.push('', `# ${`--- ${section} `.padEnd(70, '-')}`)
    for (const [name, field] of fields) {
      lines.push('', `# ${field.description}`, `# ${name}=${machineDefaults[name] ? '' : defaultText(field)}`)
    }
  }
  return lines.join('\n') + '\n'
}

function reference (): string {
  const tables = variables.map(({ section, fields }) => [
    `## ${section}`,
    '',
    '| Variable | Meaning | Default | Values |',
    '|---|---|---|---|',
    ...fields.map(([name, field]) =>
      row([code(name), String(field.description), describeDefault(name, field), describeValues(name, field)])
    ),
    ...(section === 'Features' ? ['', ...featureTable()] : [])
  ].join('\n'))
  return [
    '# Configuration',
    '',
    'The server is configured by environment variables. A value set there counts before the default for the environment (`config/development.ts`, `config/test.ts`, `config/production.ts`, chosen by `NODE_ENV`), and that before the general one. An empty variable counts as not set.',
    '',
    'The server does not start with a configuration that is wrong: it names every problem at once and ends. Values of secrets are never shown.',
    '',
    'This page is made by `npm run docs:config` from `config/schema.ts`.',
    '',
    tables.join('\n\n'),
    ''
  ].join('\n')
}

/** The features that `config/<NODE_ENV>.ts` enables; `FEATURES` overrides them. */
function featureTable (): string[] {
  const features = [...new Set(Object.values(environments).flatMap((defaults) => Object.keys(defaults.features)))]
  return [
    'Without `FEATURES`, every feature is on (`laravel-bridge` only with `LARAVEL_API_URL`) unless this says otherwise:',
    '',
    row(['Feature', 'What it shows', ...Object.keys(environments)]),
    `|${'---|'.repeat(2 + Object.keys(environments).length)}`,
    ...features.map((feature) => row([
      code(feature),
      (shows as Record<string, string>)[feature] ?? '',
      ...Object.values(environments).map(({ features }) => (features as Record<string, boolean>)[feature] === false ? 'off' : 'on')
    ]))
  ]
}

function describeDefault (name: Name, field: z.ZodType): string {
  const general = machineDefaults[name] || code(defaultText(field)) || 'none'
  const byValue = Map.groupBy(
    Object.entries(environments).filter(([, { env }]) => name in env),
    ([, { env }]) => (env as Partial<Record<Name, string>>)[name]
  )
  const special = [...byValue].map(([value, where]) => `${code(String(value))} in ${where.map(([environment]) => environment).join(' and ')}`)
  const required = requirements.filter((rule) => rule.name === name).map(({ reason }) => `**required** ${linkNames(reason)}`)
  return [general, ...special, ...required].join('; ')
}

/** The default as an environment value; empty if there is none. */
function defaultText (field: z.ZodType): string {
  const value = field.parse(undefined)
  if (Array.isArray(value)) return value.join(',')
  return typeof value === 'object' && value !== null ? JSON.stringify(value) : String(value ?? '')
}

/**
 * The values that a variable accepts. Bounds and choices come from
 * the schema; other descriptions come from the validation error ("must be …").
 */
function describeValues (name: Name, field: z.ZodType): string {
  const type = z.toJSONSchema(field, { unrepresentable: 'any' })
  const empty = field.safeParse('')
  const list = empty.success && Array.isArray(empty.data)
  const [, verb, words] = field.safeParse('\0').error?.issues[0]?.message.match(/^must (be|have) (.*)$/s) ?? []
  const accepted = type.enum
    ? type.enum.map((value) => code(String(value))).join(', ')
    : type.type === 'integer'
      ? `whole number, ${type.minimum} to ${type.maximum}`
      : words && (list && verb === 'have' ? `${words} each` : words.replace(/(?<=\blike ).*/s, code))
  const parts = [list ? 'comma-separated' : !accepted && 'text', accepted, (secrets as readonly Name[]).includes(name) && 'secret']
  return parts.filter(Boolean).join('; ')
}

/** Formats names of variables in a text as code. */
function linkNames (text: string): string {
  return text.replace(/\b[A-Z][A-Z0-9_]+\b/g, (word) => word in schema.shape ? code(word) : word)
}

function code (text: string): string {
  return text && `\`${text}\``
}

function row (cells: string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
}

if (import.meta.main) writeGenerated(configDocs(), 'npm run docs:config')
