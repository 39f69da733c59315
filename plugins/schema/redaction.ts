import { mask } from './variables.ts'

/** Masks secrets in text that the server logs or sends. */
export interface Redaction {
  /** Adds a secret, or every string in a list or object of secrets. */
  add (secret: unknown): void
  /** @returns the text, with every known secret masked */
  redact (text: string): string
}

/** Minimum length of the secrets to mask, because shorter ones can also occur in text that is not secret. */
const minLength = 8

/** @returns the text with JSON escapes */
const escaped = (text: string) => JSON.stringify(text).slice(1, -1)

function * textsIn (value: unknown): Generator<string> {
  if (typeof value === 'string') yield value
  else if (typeof value === 'object' && value !== null) for (const part of Object.values(value)) yield * textsIn(part)
}

/** Secrets that have fewer than 8 characters or consist only of digits are not masked. */
export function createRedaction (): Redaction {
  const secrets = new Set<string>()
  return {
    add (secret) {
      for (const text of textsIn(secret)) {
        if (text === mask || text.length < minLength || /^\d+$/.test(text)) continue
        // Log lines are JSON, and their strings may contain JSON. In URLs, secrets are percent-encoded.
        for (const form of [text, escaped(text), escaped(escaped(text)), encodeURIComponent(text.toWellFormed())]) secrets.add(form)
      }
    },
    redact (text) {
      const found = [...secrets].filter((secret) => text.includes(secret))
      // Mask the longest secrets first, because a secret can contain another secret.
      return found.sort((a, b) => b.length - a.length).reduce((rest, secret) => rest.replaceAll(secret, mask), text)
    }
  }
}
