import type { Documents } from './documents.ts'
import { fieldsOf, typeOf } from './fields.ts'
import type { JsonSchema } from './json-schema.ts'
import { sharedSchemas } from './json-schema.ts'
import { connectionLimits, groupsOf, limitText } from './overview.ts'
import type { Entry } from './overview.ts'

type Schemas = Readonly<Record<string, JsonSchema>>

/** Renders the OpenAPI and AsyncAPI documents as one Markdown page. */
export function contractMarkdown ({ openapi, asyncapi }: Documents): string {
  const { schemas } = asyncapi.components
  const groups = groupsOf(asyncapi)
  return [
    '# The contract',
    'This page lists all requests, events, error codes and close codes of the WebSocket interface, and all HTTP routes, with all features enabled. Machine-readable versions are in [asyncapi.json](asyncapi.json) (AsyncAPI 3.0) and [openapi.json](openapi.json) (OpenAPI 3.1). A running server serves the documents for its enabled features under `/docs`.',
    '`npm run docs:contract` generates these three files from the schemas that the server uses for validation.',
    '## Frames',
    asyncapi.info.description,
    connectionLimits(asyncapi).map((sentence) => `- ${sentence}`).join('\n'),
    '## Messages',
    ...groups.flatMap(({ owner, entries }) => [`### ${owner}`, ...entries.flatMap((entry) => section(entry, schemas))]),
    '## Shared types',
    ...Object.keys(sharedSchemas).flatMap((name) => {
      const { description = '', pattern } = schemas[name] ?? {}
      return [`### ${name}`, [code(typeOf(schemas[name] ?? {}, schemas)), description, pattern === undefined ? '' : code(pattern)].filter(Boolean).join(' '), ...fields(schemas[name] ?? {}, schemas)]
    }),
    '## Error codes',
    table(['Code', 'HTTP', 'Feature', 'Meaning'], asyncapi['x-error-codes'].map(({ code: name, status, feature, meaning }) => [code(name), String(status), feature, meaning])),
    '## Close codes',
    table(['Code', 'Reason', 'Meaning'], asyncapi['x-close-codes'].map(({ code: number, reason, meaning }) => [String(number), code(reason), meaning])),
    '## HTTP',
    openapi.info.description ?? '',
    table(['Route', 'Purpose', 'Status codes'], Object.entries(openapi.paths ?? {}).flatMap(([path, operations]) =>
      Object.entries(operations).map(([method, { summary = '', responses = {} }]: [string, { summary?: string, responses?: object }]) =>
        [code(`${method.toUpperCase()} ${path}`), summary, Object.keys(responses).filter((status) => !status.endsWith('XX')).join(', ')])))
  ].join('\n\n') + '\n'
}

function section ({ kind, type, operation, data, example, reply }: Entry, schemas: Schemas): string[] {
  const { summary } = operation
  const notes = kind === 'request' ? [operation['x-room'] === true ? 'The sender must be in a room.' : '', limitText(operation)].filter(Boolean).join(' ') : ''
  const rows = fields(data, schemas)
  return [
    `#### ${code(type)} (${kind})`,
    ...(summary === undefined ? [] : [`${summary}.`]),
    ...(notes === '' ? [] : [notes]),
    ...(rows.length > 0 ? rows : [`Data: ${data.properties ? 'none' : typeOf(data, schemas)}.`]),
    ...(reply === undefined ? [] : replyOf(reply.data, schemas)),
    ['```', `${kind === 'request' ? '→' : '←'} ${JSON.stringify(example)}`, ...(reply === undefined ? [] : [`← ${JSON.stringify(reply.example)}`]), '```'].join('\n')
  ]
}

function replyOf (data: JsonSchema, schemas: Schemas): string[] {
  const rows = fields(data, schemas)
  return rows.length > 0 ? ['Reply:', ...rows] : ['The reply has no data.']
}

function fields (schema: JsonSchema, schemas: Schemas): string[] {
  const rows = fieldsOf(schema, schemas)
  return rows.length === 0 ? [] : [table(['Field', 'Type', 'Meaning'], rows.map(({ path, type, required, text }) => [code(path) + (required ? '' : ' (optional)'), code(type), text]))]
}

const code = (text: string) => `\`${text}\``

function table (head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`).join('\n')
}
