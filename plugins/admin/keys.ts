import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'

const digest = (key: string) => createHash('sha256').update(key).digest()

/** @returns the credentials of an `Authorization: Bearer` header; undefined if there are none */
export function bearerOf ({ authorization = '' }: IncomingHttpHeaders): string | undefined {
  return /^Bearer +(\S.*)$/i.exec(authorization)?.[1]?.trim()
}

/**
 * Compares secrets in constant time.
 *
 * @returns a function that tests whether a string is one of the secrets
 */
export function createSecretCheck (secrets: readonly string[]): (given: string) => boolean {
  const digests = secrets.map(digest)
  return (given) => {
    const digested = digest(given)
    // Compare all secrets, even after a match, because the time that the check takes must reveal nothing.
    return digests.filter((one) => timingSafeEqual(one, digested)).length > 0
  }
}

/** @returns the start of a secret's SHA-256 hash, which identifies the secret in logs */
export const fingerprint = (secret: string): string => digest(secret).toString('hex').slice(0, 8)
