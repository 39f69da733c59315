import { z } from 'zod'
import { fitting, maxEventBytes } from './sizes.ts'

/**
 * Maximum length of a cursor. The longest sort key is a user id: 128 characters can be 384 bytes in UTF-8, which are 512
 * characters in base64.
 */
const maxCursorLength = 512
/** The cursor that a client sends to request a page. Opaque to clients. */
export const cursor = z.string().max(maxCursorLength).optional().describe("The previous page's nextCursor")
/** The cursor of the next page, in a reply. */
export const nextCursor = z.string().nullable().describe('Cursor of the next page; null on the last page')

/** @returns the sort key of the previous page's last item; empty for the first page */
export const keyBehind = (cursor: string | undefined): string => cursor === undefined ? '' : Buffer.from(cursor, 'base64url').toString()

/** @param key the sort key of the page's last item; undefined on the last page */
export const cursorBehind = (key: string | undefined): string | null => key === undefined ? null : Buffer.from(key).toString('base64url')

/** Maximum size of the items of a page, in bytes. The limit leaves space for the rest of the reply. */
export const maxPageBytes = maxEventBytes - 1024

/**
 * Builds a page from the items that follow a cursor.
 *
 * @param found at most `limit` + 1 items; an item beyond `limit` means that another page follows
 * @param keyOf returns the sort key of an item
 * @param maxBytes maximum size of the items as JSON; a page may therefore have fewer than `limit` items
 */
export function pageOf<T> (found: readonly T[], limit: number, keyOf: (one: T) => string, maxBytes = Infinity): { shown: T[], nextCursor: string | null } {
  const shown = found.slice(0, limit)
  if (maxBytes < Infinity) shown.splice(fitting(shown, maxBytes).length)
  const last = shown.at(-1)
  return { shown, nextCursor: cursorBehind(found.length > shown.length && last !== undefined ? keyOf(last) : undefined) }
}
