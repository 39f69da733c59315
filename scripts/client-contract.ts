import { globSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { createAuxiliaryTypeStore, printNode, zodToTs } from 'zod-to-ts'
import type { ZodToTsOptions } from 'zod-to-ts'
import { z } from 'zod'
import { chatMessage } from '../features/chat/messages.ts'
import { profile, userId } from '../plugins/schema/ids.ts'
import type { EventMap, RequestMap } from '../plugins/schema/messages.ts'
import { closeCodes } from '../plugins/connections/close-codes.ts'

const root = resolve(import.meta.dirname, '..')

/** Exports of a messages.ts. */
interface Messages {
  requests?: RequestMap
  events?: EventMap
  /** Fields that a feature adds to the request of room:join. */
  joinRequest?: z.ZodObject
  /** Fields that a feature adds to the reply of room:join. */
  joinReply?: z.ZodObject
  /** Fields that a feature adds to session:ready. */
  greeting?: z.ZodObject
}

interface Part extends Messages {
  /** Name of the feature, or `core`. */
  name: string
}

/** Schemas that become named types. */
const named = new Map<z.core.$ZodType, { name: string, words: string }>([
  [userId, { name: 'UserId', words: "A user's id, as the token had it: a number stays a number. Requests take either form." }],
  [profile, { name: 'Profile', words: 'The public claims of a user.' }],
  [chatMessage, { name: 'ChatMessage', words: 'A chat message.' }]
])

const head = `// Made by npm run build:client -- --types from the schemas with which the server
// validates: plugins/rooms/messages.ts and features/*/messages.ts. Do not edit.`

/**
 * @returns the content of client/contract.ts: the contract as self-contained
 *   types, identical on every machine
 * @throws if a schema has no TypeScript equivalent
 */
export async function clientContract (): Promise<string> {
  const parts = await findParts()
  const having = (key: keyof Part) => parts.filter((part) => part[key] !== undefined)
  return [
    head,
    ...[...named].map(([schema, { name, words }]) => declare(`type ${name} =`, words, typeText(schema, 'output', schema))),
    ...parts.flatMap(describePart),
    declare(`interface Requests extends ${namesOf(having('requests'), 'Requests')}`, 'All requests, by type: what they carry, and what the reply to them does. An interface, so that a program can add those of other features.', '{}'),
    declare(`interface Events extends ${namesOf(having('events'), 'Events')}`, 'All events, by type. Others can be added, too.', '{}'),
    declare(`interface JoinRequestAdditions extends ${partialsOf(having('joinRequest'), 'JoinRequest')}`, 'Fields of features in the request of room:join, each while the feature is on.', '{}'),
    declare(`interface JoinAdditions extends ${partialsOf(having('joinReply'), 'JoinReply')}`, 'What features add to the reply of room:join, each while it is on.', '{}'),
    declare(`interface GreetingAdditions extends ${partialsOf(having('greeting'), 'Greeting')}`, 'What features add to session:ready, each while it is on.', '{}'),
    declare('type ErrorCode =', 'The codes with which the server refuses.', (await errorCodes()).map((code) => `\n  | '${code}'`).join('')),
    declare('interface CloseCodes', 'The codes with which the server closes a connection, by the reason it gives.', block(Object.entries(closeCodes).map(([name, code]) => `${name}: ${code}`)))
  ].join('\n\n') + '\n'
}

async function findParts (): Promise<Part[]> {
  const files = ['plugins/rooms/messages.ts', ...globSync('features/*/messages.ts', { cwd: root }).sort()]
  const parts = await Promise.all(files.map(async (file): Promise<Part> => {
    const [kind, folder = ''] = file.split('/')
    return { ...await import(join(root, file)) as Messages, name: kind === 'plugins' ? 'core' : folder }
  }))
  return parts.filter(({ requests, events }) => requests ?? events)
}

function describePart (part: Part): string[] {
  const { name, requests, events, joinRequest, joinReply, greeting } = part
  const whose = name === 'core' ? 'that every server has' : `of the feature \`${name}\``
  const lines: string[] = []
  if (requests) {
    const entries = Object.entries(requests).map(([type, { request, reply }]) =>
      `${keyText(type)}: ${block([`request: ${typeText(request, 'input')}`, `reply: ${typeText(reply, 'output')}`])}`)
    lines.push(declare(`interface ${nameOf(part, 'Requests')}`, `Requests ${whose}.`, block(entries)))
  }
  if (events) {
    const entries = Object.entries(events).map(([type, schema]) => {
      const words = z.globalRegistry.get(schema)?.description
      return `${words === undefined || named.has(schema) ? '' : `/** ${words} */\n`}${keyText(type)}: ${typeText(schema, 'output')}`
    })
    lines.push(declare(`interface ${nameOf(part, 'Events')}`, `Events ${whose}.`, block(entries)))
  }
  if (joinRequest) lines.push(declare(`interface ${nameOf(part, 'JoinRequest')}`, `Fields of the feature \`${name}\` in the request of room:join.`, typeText(joinRequest, 'input')))
  if (joinReply) lines.push(declare(`interface ${nameOf(part, 'JoinReply')}`, `What the feature \`${name}\` adds to the reply of room:join.`, typeText(joinReply, 'output')))
  if (greeting) lines.push(declare(`interface ${nameOf(part, 'Greeting')}`, `What the feature \`${name}\` adds to session:ready.`, typeText(greeting, 'output')))
  return lines
}

function declare (what: string, words: string, body: string): string {
  return `/** ${words} */\nexport ${what}${body.startsWith('\n') ? '' : ' '}${body}`
}

function keyText (type: string): string {
  return /^\w+$/.test(type) ? type : `'${type}'`
}

function block (entries: string[]): string {
  return ['{', ...entries.map((entry) => entry.replace(/^/gm, '  ')), '}'].join('\n')
}

function nameOf ({ name }: Part, what: string): string {
  return name.replace(/(^|-)([a-z])/g, (_, _dash, letter: string) => letter.toUpperCase()) + what
}

function namesOf (parts: Part[], what: string): string {
  return parts.map((part) => nameOf(part, what)).join(', ')
}

function partialsOf (parts: Part[], what: string): string {
  return parts.map((part) => `Partial<${nameOf(part, what)}>`).join(', ')
}

/** Prints a schema's type in this project's style. */
function typeText (schema: z.core.$ZodType, io: 'input' | 'output', itself?: z.core.$ZodType): string {
  const overrideFunction: ZodToTsOptions['overrideFunction'] = (schema, { factory }) => {
    // A schema that differs only by its description has the same type.
    const original = [schema, schema._zod.parent].find((one) => one !== undefined && named.has(one))
    if (!original || original === itself) return undefined
    return factory.createTypeReferenceNode(named.get(original)?.name ?? '')
  }
  const auxiliaryTypeStore = createAuxiliaryTypeStore()
  const { node } = zodToTs(schema, { auxiliaryTypeStore, io, overrideFunction })
  if (auxiliaryTypeStore.definitions.size > 0) throw new Error('A recursive schema needs a name in scripts/client-contract.ts')
  return printNode(node).split('\n').map((line) => {
    const [, indent = '', text = ''] = line.match(/^( *)(.*?);?$/) ?? []
    return indent.slice(indent.length / 2) + (text.startsWith('/**') ? text : text.replaceAll('"', "'"))
  }).join('\n')
}

/** @returns the error codes of the kernel and all features, sorted */
async function errorCodes (): Promise<string[]> {
  const files = ['plugins/errors/codes.ts', ...globSync('{plugins,features}/*/errors.ts', { cwd: root })]
  const modules = await Promise.all(files.map(async (file) => await import(join(root, file)) as Record<string, unknown>))
  const codes = modules.flatMap((exported) => Object.values(exported)).filter(isErrorClass).map((Coded) => new Coded().code)
  return [...new Set(codes)].sort()
}

function isErrorClass (value: unknown): value is new () => Error & { code: string } {
  return typeof value === 'function' && value.prototype instanceof Error
}
