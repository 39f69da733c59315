import type { Redis, Result } from 'ioredis'
import type { Profile } from '../../connections/session.ts'
import type { Publication, StoredDocument } from '../types.ts'
import { join, leave, participants, someMembers } from './scripts/members.ts'
import { replaceNodeMembers } from './scripts/node-members.ts'
import { forgetEmpty, removeRoom, touch } from './scripts/records.ts'
import { appendLog, swapDocument } from './scripts/state.ts'

declare module 'ioredis' {
  interface RedisCommander<Context> {
    msabJoin (...args: (string | number)[]): Result<unknown[], Context>
    msabLeave (...args: (string | number)[]): Result<[number, number] | null, Context>
    msabRemoveRoom (...args: (string | number)[]): Result<string | null, Context>
    msabParticipants (...args: (string | number)[]): Result<[places: string[], profiles: (string | null)[], count: number], Context>
    msabSomeMembers (...args: (string | number)[]): Result<string[], Context>
    msabForgetEmpty (...args: (string | number)[]): Result<number, Context>
    msabTouch (...args: (string | number)[]): Result<number, Context>
    msabAppendLog (...args: (string | number)[]): Result<number, Context>
    msabSwapDocument (...args: (string | number)[]): Result<string[] | null, Context>
    msabReplaceNodeMembers (...args: (string | number)[]): Result<[joined: string[], left: (string | null)[], count: number, closed: number, documents: string[]], Context>
  }
}

export function defineCommands (redis: Redis): void {
  redis.defineCommand('msabJoin', { numberOfKeys: 9, lua: join })
  redis.defineCommand('msabLeave', { numberOfKeys: 7, lua: leave })
  redis.defineCommand('msabRemoveRoom', { numberOfKeys: 8, lua: removeRoom })
  redis.defineCommand('msabParticipants', { numberOfKeys: 2, lua: participants })
  redis.defineCommand('msabSomeMembers', { numberOfKeys: 2, lua: someMembers })
  redis.defineCommand('msabForgetEmpty', { numberOfKeys: 1, lua: forgetEmpty })
  redis.defineCommand('msabTouch', { numberOfKeys: 1, lua: touch })
  redis.defineCommand('msabReplaceNodeMembers', { numberOfKeys: 8, lua: replaceNodeMembers })
  redis.defineCommand('msabAppendLog', { numberOfKeys: 2, lua: appendLog })
  redis.defineCommand('msabSwapDocument', { numberOfKeys: 2, lua: swapDocument })
}

export const parseProfile = (text: string) => JSON.parse(text) as Profile

/** The arguments of a script that publishes: two empty strings publish nothing. */
export const publishArgs = (publish: Publication | undefined) => [publish?.channel ?? '', publish?.payload ?? '']

/** @param text `<version> <JSON>` */
export function parseDocument (text: string): StoredDocument {
  const space = text.indexOf(' ')
  return { version: text.slice(0, space), state: text.slice(space + 1) }
}

/** @param fields alternately name and document, as HGETALL in a script returns them */
export function parseDocuments (fields: readonly string[]): Map<string, StoredDocument> {
  const documents = new Map<string, StoredDocument>()
  for (let i = 0; i < fields.length; i += 2) documents.set(fields[i] as string, parseDocument(fields[i + 1] as string))
  return documents
}
