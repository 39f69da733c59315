import { z } from 'zod'

/** A search query. */
export const query = z.string().min(1).max(80).describe('Returns only entries that contain all of these words, ignoring case and accents')

/** Removes the differences that a search ignores: case, accents and character width. */
const fold = (text: string) => text.normalize('NFKD').replace(/\p{Mn}/gu, '').toLowerCase()

/**
 * @param query words, separated by spaces
 * @returns a function that returns true if each word occurs in at least one of the given texts
 */
export function createSearch (query: string): (texts: readonly (string | null | undefined)[]) => boolean {
  const words = fold(query).split(/\s+/).filter((word) => word !== '')
  return (texts) => {
    const folded = texts.map((text) => fold(text ?? ''))
    return words.every((word) => folded.some((text) => text.includes(word)))
  }
}
