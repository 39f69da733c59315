import * as general from '../errors/codes.ts'
import * as features from '../features/errors.ts'
import * as rooms from '../rooms/errors.ts'
import * as sfu from '../media/errors.ts'
import * as store from '../store/errors.ts'

/** A code that a reply or a REST answer may carry. */
export interface ErrorCode {
  code: string
  /** The HTTP status that goes with it over REST. */
  status: number
  meaning: string
  /** The feature it belongs to; `kernel` for those that any may answer. */
  feature: string
}

/** What `createError` makes. */
export type ErrorClass = new (...args: never[]) => Error & { code: string, statusCode?: number | undefined }

/**
 * Reads codes off the constructors of an error table, so that they are written once.
 *
 * @param table what an errors.ts exports: what is no constructor is passed over,
 *   and `meanings` has words for those whose message alone says too little
 */
export function codesOf (feature: string, table: Readonly<Record<string, unknown>>): ErrorCode[] {
  const meanings = (table.meanings ?? {}) as Readonly<Record<string, string>>
  return Object.values(table).filter(isErrorClass).map((Refusal) => {
    const { code, statusCode = 500, message } = new Refusal()
    return { code, status: statusCode, meaning: meanings[code] ?? message.replaceAll(/%[a-zA-Z]/g, '…'), feature }
  })
}

/**
 * @param tables of the features that run, by name
 * @returns all codes that clients may see now, each once, the kernel's before those of features
 */
export function allCodes (tables: readonly (readonly [feature: string, table: Readonly<Record<string, unknown>>])[]): ErrorCode[] {
  const kernel = [general, store, rooms, sfu, features].flatMap((table) => codesOf('kernel', table))
  const codes = new Map<string, ErrorCode>()
  for (const one of [...kernel, ...tables.flatMap(([feature, table]) => codesOf(feature, table))]) {
    if (!codes.has(one.code)) codes.set(one.code, one)
  }
  return [...codes.values()]
}

function isErrorClass (value: unknown): value is ErrorClass {
  return typeof value === 'function' && value.prototype instanceof Error
}
