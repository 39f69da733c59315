import { z } from 'zod'

/** Where a page begins, as a request for one says it. Clients make nothing of what is in it. */
export const cursor = z.string().max(256).optional().describe('Where the last page ended: its nextCursor')
/** Where the next page begins, as the reply says it. */
export const nextCursor = z.string().nullable().describe('Where the next page begins; null at the end')

/** @returns the key behind which a page begins; empty for the first page */
export const keyBehind = (cursor: string | undefined): string => cursor === undefined ? '' : Buffer.from(cursor, 'base64url').toString()

/** @param key of the last on a page; undefined when there are no more behind it */
export const cursorBehind = (key: string | undefined): string | null => key === undefined ? null : Buffer.from(key).toString('base64url')

/**
 * Makes a page of what was found behind a cursor.
 *
 * @param found one more than `limit` where there are as many
 * @param keyOf by which they are in order
 */
export function pageOf<T> (found: readonly T[], limit: number, keyOf: (one: T) => string): { shown: T[], nextCursor: string | null } {
  const shown = found.slice(0, limit)
  const last = shown.at(-1)
  return { shown, nextCursor: cursorBehind(found.length > limit && last !== undefined ? keyOf(last) : undefined) }
}
