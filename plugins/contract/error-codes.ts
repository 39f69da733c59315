import * as general from '../errors/codes.ts'
import { codesOf } from '../errors/error-codes.ts'
import * as features from '../features/errors.ts'
import * as rooms from '../rooms/errors.ts'
import * as media from '../media/errors.ts'
import type { ErrorCode } from '../schema/contract.ts'
import * as store from '../store/errors.ts'

/**
 * @param tables the running features' names and error tables
 * @returns every code that clients can currently receive, without duplicates; the kernel's codes come first
 */
export function allCodes (tables: readonly (readonly [feature: string, table: Readonly<Record<string, unknown>>])[]): ErrorCode[] {
  const kernel = [general, store, rooms, media, features].flatMap((table) => codesOf('kernel', table))
  const codes = new Map<string, ErrorCode>()
  for (const one of [...kernel, ...tables.flatMap(([feature, table]) => codesOf(feature, table))]) {
    if (!codes.has(one.code)) codes.set(one.code, one)
  }
  return [...codes.values()]
}
