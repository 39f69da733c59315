import { hash } from 'node:crypto'
import { createVerifier, TokenError } from 'fast-jwt'
import { findTextIssue, userIdText, z } from 'flylive-audio-server/feature'
import type { Identity, Profile, UserId } from 'flylive-audio-server/feature'

/** Why a token was rejected. Also a value of the `result` label of flylive_auth_attempts_total. */
export type Refusal = 'missing' | 'invalid' | 'expired' | 'blocked' | 'revoked' | 'store_error'

/** Thrown if a token is rejected. */
export class TokenRefused extends Error {
  override readonly name = 'TokenRefused'
  readonly refusal: Refusal
  /** A reason that clients may act on (docs/protocol.md, "Connecting"). */
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
  /** How long a token without `exp` is valid after its `iat`, in seconds. */
  maxAgeSeconds: number
  /** How far `nbf` and `iat` may be in the future, in seconds. Default: 0. */
  clockToleranceSeconds?: number
  /**
   * Returns the current time for checking `nbf` and `iat`, in epoch milliseconds. Default: the machine's clock.
   * The expiry is always checked against the machine's clock.
   */
  now?: () => number
  /** Required `aud`. If undefined, any value is accepted. */
  audience?: string | undefined
  /** Required `iss`. If undefined, any value is accepted. */
  issuer?: string | undefined
  /** Required `typ` of the header. If undefined, any value is accepted. */
  type?: string | undefined
  publicClaims: readonly string[]
  /** Called when claims are removed from a profile that is too large. */
  onTrimmed?: (userId: UserId, removed: readonly string[]) => void
}

// Keep other claims, because `publicClaims` may list them.
const claims = z.looseObject({
  id: z.union([z.int(), userIdText]),
  name: z.string().min(1).max(256),
  roles: z.array(z.string()).nullish(),
  exp: z.number().optional(),
  iat: z.number().optional(),
  nbf: z.number().optional(),
  is_blocked: z.boolean().nullish()
})

/** Error messages for tokens that fast-jwt rejects, by fast-jwt error code. */
const messages: Readonly<Record<string, string>> = {
  [TokenError.codes.invalidClaimValue]: 'The token is not for this server (aud, iss)',
  [TokenError.codes.missingRequiredClaim]: 'The token is not for this server (aud, iss)',
  [TokenError.codes.invalidType]: 'The token is not for this server (typ)',
  [TokenError.codes.malformed]: 'The token is not a JWT',
  [TokenError.codes.invalidSignature]: 'The signature of the token is invalid',
  [TokenError.codes.invalidAlgorithm]: 'The token is not signed with HS256'
}

/** The latest possible `Date`, in epoch milliseconds. Some backends use a huge `exp` for tokens that do not expire. */
const maxDateMs = 8.64e15

/** Maximum size of a profile as JSON, in bytes (docs/protocol.md, "Frames"). */
const maxProfileBytes = 4096

/**
 * Removes the largest claims of a profile until the rest is small enough.
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
 * (docs/protocol.md, "Connecting"). The backend also writes these keys.
 */
export const revokedPrefix = 'auth:revoked:'

export function hashToken (token: string): string {
  return hash('sha256', token)
}

/**
 * The last character of a signature has unused bits, so several strings verify as
 * the same token. Tokens are revoked by the hash of their string, so only the
 * canonical string is accepted.
 */
function isCanonical (token: string): boolean {
  const signature = token.split('.').at(-1) ?? ''
  return Buffer.from(signature, 'base64url').toString('base64url') === signature
}

/**
 * Creates a function that verifies a token's format, its HS256 signature (with any of the secrets), and its `typ`,
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
        // A different secret can help only if the signature is invalid.
        if (!(error instanceof TokenError) || error.code !== TokenError.codes.invalidSignature) break
      }
    }
    const code = last instanceof TokenError ? last.code : ''
    if (code === TokenError.codes.expired) throw new TokenRefused('expired', 'The token has expired', 'expired')
    throw new TokenRefused('invalid', messages[code] ?? 'The token is not valid')
  }

  return (token) => {
    // The client probably sent the text of an error page instead of a token.
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

/** @returns the expiry of a token with these claims, in epoch milliseconds; undefined if `exp` and `iat` are absent */
export function expiryOf ({ exp, iat }: Readonly<Record<string, unknown>>, maxAgeSeconds: number): number | undefined {
  const expires = typeof exp === 'number' ? exp : typeof iat === 'number' ? iat + maxAgeSeconds : undefined
  return expires === undefined ? undefined : Math.min(Math.floor(expires * 1000), maxDateMs)
}

/**
 * Creates a function that validates a token and its claims.
 *
 * @returns a function that returns a token's identity, without `tokenHash`, or throws {@link TokenRefused}
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
    // The id comes last, so that no claim overrides it.
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
