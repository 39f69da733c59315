import type { ErrorCode } from '../schema/contract.ts'

/** A constructor that `createError` returns. */
export type ErrorClass = new (...args: never[]) => Error & { code: string, statusCode?: number | undefined }

/**
 * Reads the error codes from the error classes in a table.
 *
 * @param feature the owner of the table
 * @param table the exports of an errors.ts. Values that are not error classes are skipped. The `meanings` export
 *   replaces the messages of individual codes
 */
export function codesOf (feature: string, table: Readonly<Record<string, unknown>>): ErrorCode[] {
  const meanings = (table.meanings ?? {}) as Readonly<Record<string, string>>
  return Object.values(table).filter(isErrorClass).map((Coded) => {
    const { code, statusCode = 500, message } = new Coded()
    return { code, status: statusCode, meaning: meanings[code] ?? message.replaceAll(/%[a-zA-Z]/g, '…'), feature }
  })
}

function isErrorClass (value: unknown): value is ErrorClass {
  return typeof value === 'function' && value.prototype instanceof Error
}
