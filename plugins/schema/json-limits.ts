/** Maximum nesting depth of objects and arrays in a JSON text. */
const maxDepth = 32

/**
 * Maximum number of values in a JSON document. The largest legitimate payload, a browser's media capabilities, contains
 * about a thousand values.
 */
const maxValues = 2000

const quote = 34
const comma = 44
const openBracket = 91
const backslash = 92
const closeBracket = 93
const openBrace = 123
const closeBrace = 125

/**
 * Checks the nesting depth and the number of values of a JSON text before it is parsed, in one pass without allocation.
 * Parsing and validating many thousands of values would block the event loop.
 *
 * @param text need not be valid JSON
 * @returns the limit that the text exceeds; undefined if the text exceeds no limit
 */
export function jsonLimitExceeded (text: string): string | undefined {
  let depth = 0
  let values = 1
  for (let index = 0; index < text.length; index++) {
    switch (text.charCodeAt(index)) {
      case quote:
        index = endOfString(text, index)
        break
      case openBracket:
      case openBrace:
        if (++depth > maxDepth) return `must not nest more than ${maxDepth} levels`
        values++
        break
      case closeBracket:
      case closeBrace:
        depth--
        break
      case comma:
        if (++values > maxValues) return `must not have more than ${maxValues} values`
        break
    }
  }
}

/**
 * Reads top-level strings and numbers from a JSON object without parsing the rest.
 *
 * @param text need not be valid JSON
 * @param names the names of the fields to read
 * @returns the values of the fields that were found, by name
 */
export function topLevelScalars (text: string, names: readonly string[]): Record<string, unknown> {
  const found: Record<string, unknown> = {}
  let depth = 0
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index)
    if (code === openBracket || code === openBrace) depth++
    else if (code === closeBracket || code === closeBrace) depth--
    else if (code === quote) {
      const end = endOfString(text, index)
      const name = depth === 1 ? names.find((one) => text.startsWith(`"${one}"`, index)) : undefined
      // The string is a field name only if a colon follows it.
      const value = name === undefined ? undefined : scalarAfterColon(text, end + 1)
      if (name !== undefined && value !== undefined) found[name] = value
      index = end
    }
  }
  return found
}

function scalarAfterColon (text: string, start: number): unknown {
  const colon = /\s*:\s*/y
  colon.lastIndex = start
  if (!colon.test(text)) return
  const from = colon.lastIndex
  const end = text.charCodeAt(from) === quote ? endOfString(text, from) + 1 : text.slice(from, from + 64).search(/[,}\s]|$/) + from
  try {
    return JSON.parse(text.slice(from, end))
  } catch {}
}

/** @returns the index of the closing quote of the string that starts at `start`; the text's length if there is none */
function endOfString (text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let backslashes = 0
    while (text.charCodeAt(end - 1 - backslashes) === backslash) backslashes++
    if (backslashes % 2 === 0) return end
  }
  return text.length
}
