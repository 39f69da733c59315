import { hash } from 'node:crypto'
import { createDecoder, createVerifier, TokenError } from 'fast-jwt'
import { findTextIssue, userIdText, z } from 'flylive-audio-server/feature'
import type { Identity, Profile, UserId } from 'flylive-audio-server/feature'

/** Why a token was rejected. The metric flylive_auth_attempts_total uses the same values in its label `result`. */
export type Refusal = 'missing' | 'invalid' | 'expired' | 'blocked' | 'revoked' | 'store_error'

/** Thrown if a token is rejected. */
export class TokenRefused extends Error {
  override readonly name = 'TokenRefused'
  readonly refusal: Refusal
  /** The reason that clients receive, so that they can react to it (docs/protocol.md, "Connecting"). */
  readonly reason: 'expired' | 'malformed' | undefined

  constructor (refusal: Refusal, message: string, reason?: 'expired' | 'malformed') {
    super(message)
    this.refusal = refusal
    this.reason = reason
  }
}

export interface TokenRules {
  /** The accepted secrets, newest first. */
  secrets: readonly string[]
  /** Lifetime of tokens without `exp`, counted from `iat`, in seconds. */
  maxAgeSeconds: number
  /** How far in the future the `nbf` and `iat` of a valid token can be, in seconds. Default: 0. */
  clockToleranceSeconds?: number
  /**
   * Returns the time against which `nbf` and `iat` are checked, in epoch milliseconds. Default: the machine's clock.
   * The expiry is always checked against the machine's clock.
   */
  now?: () => number
  /** Required `aud`. If undefined, a token with any value or none is accepted. */
  audience?: string | undefined
  /** Required `iss`. If undefined, a token with any value or none is accepted. */
  issuer?: string | undefined
  /** Required `typ` of the header. If undefined, a token with any value or none is accepted. */
  type?: string | undefined
  publicClaims: readonly string[]
  /** Called when a profile is too large and some of its claims are therefore removed. */
  onTrimmed?: (userId: UserId, removed: readonly string[]) => void
}

// Unknown claims must be kept, because `publicClaims` may list them.
const claims = z.looseObject({
  id: z.union([z.int(), userIdText]),
  name: z.string().min(1).max(256),
  roles: z.array(z.string()).nullish(),
  exp: z.number().optional(),
  iat: z.number().optional(),
  nbf: z.number().optional(),
  is_blocked: z.boolean().nullish()
})

/** The message for each error code with which fast-jwt rejects a token. */
const messages: Readonly<Record<string, string>> = {
  [TokenError.codes.invalidClaimValue]: 'The token is not for this server (aud, iss)',
  [TokenError.codes.missingRequiredClaim]: 'The token is not for this server (aud, iss)',
  [TokenError.codes.invalidType]: 'The token is not for this server (typ)',
  [TokenError.codes.malformed]: 'The token is not a JWT',
  [TokenError.codes.invalidSignature]: 'The signature of the token is invalid',
  [TokenError.codes.invalidAlgorithm]: 'The token is not signed with HS256'
}

/**
 * The latest possible `Date`, in epoch milliseconds. Some backends set `exp` to a huge number, which may be beyond this
 * time, in tokens that should not expire.
 */
export const maxDateMs = 8.64e15

/** Maximum size of a profile as JSON, in bytes (docs/protocol.md, "Frames"). */
const maxProfileBytes = 4096

/**
 * Removes the largest claims from a profile until the profile is at most {@link maxProfileBytes} long.
 *
 * @returns the profile, and the names of the removed claims
 */
export function trimProfile (profile: Profile): { profile: Profile, removed: string[] } {
  const bytesOf = (value: unknown) => Buffer.byteLength(JSON.stringify(value) ?? '')
  const removed: string[] = []
  let kept = profile
  while (bytesOf(kept) > maxProfileBytes) {
    const [largest] = Object.keys(kept).filter((name) => !['userId', 'id', 'name'].includes(name)).sort((a, b) => bytesOf(kept[b]) - bytesOf(kept[a]))
    if (largest === undefined) break
    removed.push(largest)
    const { [largest]: _, ...others } = kept
    kept = others as Profile
  }
  return { profile: kept, removed }
}

/**
 * Key prefix of revoked tokens. A token is revoked while the key `<prefix><hash of the token>` exists
 * (docs/protocol.md, "Connecting"). Both this server and the backend create such keys.
 */
export const revokedPrefix = 'auth:revoked:'

export function hashToken (token: string): string {
  return hash('sha256', token)
}

/**
 * Returns whether the signature of a token is in canonical form. The last character of a signature has unused bits, so
 * several strings are valid encodings of the same token. The server must accept only one of them, because a token is
 * revoked by the hash of its string.
 */
function isCanonical (token: string): boolean {
  const signature = token.split('.').at(-1) ?? ''
  return Buffer.from(signature, 'base64url').toString('base64url') === signature
}

/**
 * Creates a function that verifies the format of a token, its HS256 signature (with any of the secrets), and its `typ`,
 * `exp`, `nbf`, `iat`, `aud` and `iss`.
 *
 * @returns a function that returns a token's claims or throws {@link TokenRefused}
 */
export function createTokenVerifier ({ secrets, clockToleranceSeconds = 0, now = Date.now, audience, issuer, type }: TokenRules): (token: string) => Record<string, unknown> {
  const required = {
    ...(audience === undefined ? {} : { allowedAud: audience }),
    ...(issuer === undefined ? {} : { allowedIss: issuer }),
    ...(type === undefined ? {} : { checkTyp: type.toLowerCase().replace(/^application\//, '') }),
    requiredClaims: [...(audience === undefined ? [] : ['aud']), ...(issuer === undefined ? [] : ['iss'])]
  }
  const verifiers = secrets.map((key) => createVerifier({ key, algorithms: ['HS256'], cache: false, ignoreNotBefore: true, ...required }))

  function verify (token: string): unknown {
    let last: unknown
    for (const verifier of verifiers) {
      try {
        return verifier(token)
      } catch (error) {
        last = error
        // Try the next secret only if the signature is invalid, because no other check depends on the secret.
        if (!(error instanceof TokenError) || error.code !== TokenError.codes.invalidSignature) break
      }
    }
    const code = last instanceof TokenError ? last.code : ''
    if (code === TokenError.codes.expired) throw new TokenRefused('expired', 'The token has expired', 'expired')
    throw new TokenRefused('invalid', messages[code] ?? 'The token is not valid')
  }

  return (token) => {
    // The value is not a JWT. The client has probably sent the text of an error page instead of a token.
    if (token.split('.').length !== 3) throw new TokenRefused('invalid', 'The token is not a JWT', 'malformed')
    if (!isCanonical(token)) throw new TokenRefused('invalid', 'The token is not valid')
    const payload = verify(token) as Record<string, unknown>
    const { iat, nbf } = payload
    const latest = now() / 1000 + clockToleranceSeconds
    if (typeof nbf === 'number' && nbf > latest) throw new TokenRefused('invalid', 'The token is not yet valid (nbf): check the clocks')
    if (typeof iat === 'number' && iat > latest) throw new TokenRefused('invalid', 'The token was issued in the future (iat): check the clocks')
    return payload
  }
}

const decode = createDecoder()

/** @returns the claims of a token whose signature is not checked; undefined if the text is not a JWT */
export function decodeToken (token: string): Record<string, unknown> | undefined {
  try {
    return decode(token) as Record<string, unknown>
  } catch {}
}

/**
 * @returns when a token with these claims expires, in epoch milliseconds; undefined if it has neither `exp` nor `iat`
 */
export function expiryOf ({ exp, iat }: Readonly<Record<string, unknown>>, maxAgeSeconds: number): number | undefined {
  const expires = typeof exp === 'number' ? exp : typeof iat === 'number' ? iat + maxAgeSeconds : undefined
  return expires === undefined ? undefined : Math.min(Math.floor(expires * 1000), maxDateMs)
}

/**
 * Creates a function that validates a token and its claims.
 *
 * @returns a function that returns the identity in a token (without `tokenHash`) or throws {@link TokenRefused}
 */
export function createTokenReader (rules: TokenRules): (token: string) => Identity {
  const { maxAgeSeconds, publicClaims, onTrimmed = () => {} } = rules
  const verify = createTokenVerifier(rules)

  return (token) => {
    const result = claims.safeParse(verify(token))
    if (!result.success) throw new TokenRefused('invalid', `The token's claims are invalid: ${result.error.issues.map((issue) => issue.path.join('.')).join(', ')}`)
    const payload = result.data
    const expiresAt = expiryOf(payload, maxAgeSeconds)
    if (expiresAt === undefined) throw new TokenRefused('invalid', 'The token has neither exp nor iat')
    if (expiresAt <= Date.now()) throw new TokenRefused('expired', 'The token has expired', 'expired')
    if (payload.is_blocked === true) throw new TokenRefused('blocked', 'The user is blocked')

    const shown = publicClaims.filter((name) => payload[name] !== undefined).map((name) => [name, payload[name]])
    // The ids come last, so that no public claim overrides them.
    const { profile, removed } = trimProfile({ ...Object.fromEntries(shown) as object, userId: payload.id, id: payload.id })
    if (removed.length > 0) onTrimmed(payload.id, removed)
    const { name, roles } = payload
    const issue = findTextIssue({ ...profile, name, roles })
    if (issue) throw new TokenRefused('invalid', `The token's claims are not valid: ${[...issue.path.map(String), issue.message].join(' ')}`)
    return {
      user: { id: payload.id, name: payload.name, roles: payload.roles ?? [], profile },
      expiresAt,
      claims: payload
    }
  }
}
