import { createSigner } from 'fast-jwt'
import { LRUCache } from 'lru-cache'
import { Unauthorized, unavailable, withDetails } from 'flylive-audio-server/feature'
import type { FeatureInstance, HttpRequest, Identity, UserId, z } from 'flylive-audio-server/feature'
import type { config } from './config.ts'
import { createTokenReader, createTokenVerifier, decodeToken, expiryOf, hashToken, maxDateMs, revokedPrefix, TokenRefused } from './token.ts'

export interface Auth {
  /**
   * Identifies the user who sent a request. Uses the first token found in `Authorization`, a `bearer.` subprotocol, or
   * `?token=` (if enabled).
   *
   * @param verified called with the user if the token is valid, before the server checks whether the token is revoked
   * @throws UNAUTHORIZED; UNAVAILABLE if the server cannot check whether the token is revoked
   */
  authenticate (request: HttpRequest, verified?: (user: Identity['user']) => void): Promise<Identity>
  /**
   * Validates a token and identifies its user.
   *
   * @param verified called with the user if the token is valid, before the server checks whether the token is revoked
   * @throws UNAUTHORIZED (details `{reason: 'expired'}` if the token has expired, `{reason: 'malformed'}` if it is not
   *   a JWT); UNAVAILABLE if the server cannot check whether the token is revoked
   */
  identify (token: string | undefined, verified?: (user: Identity['user']) => void): Promise<Identity>
  /**
   * Checks the signature, expiry and revocation of a token. Unlike {@link identify}, it also accepts tokens that name
   * no user.
   *
   * @returns the token's claims, and its expiry in epoch milliseconds (undefined if it never expires)
   * @throws UNAUTHORIZED; UNAVAILABLE if the server cannot check whether the token is revoked
   */
  claimsOf (token: string): Promise<{ claims: Readonly<Record<string, unknown>>, expiresAt: number | undefined }>
  /**
   * Revokes a token and closes all sessions that use the token, on every server.
   *
   * @param until when the token expires, in epoch milliseconds
   * @throws UNAVAILABLE if the server cannot store the revocation; it closes the sessions anyway
   */
  revoke (tokenHash: string, until: number): Promise<void>
  /** @throws UNAVAILABLE */
  isRevoked (tokenHash: string): Promise<boolean>
  /**
   * Returns until when the revocation of a token must be stored. Does not check whether the token is valid, because the
   * token may be valid later or for another feature.
   *
   * @returns epoch milliseconds; undefined if the token has expired or the text is not a JWT, so that no revocation is
   *   necessary
   */
  expiryOf (token: string): number | undefined
  /**
   * Signs a token that this server accepts.
   *
   * @param expiresIn lifetime of the token, for example `12h`
   */
  sign (claims: object, expiresIn: string): string
  close (): void
}

declare module '../../plugins/cluster/messages.ts' {
  interface ClusterMessages {
    'auth:revoked': { tokenHash: string }
  }
}

/**
 * How often the server checks whether the tokens of open sessions have been revoked, in milliseconds. The backend
 * writes revocations directly to the store, without notifying the server. docs/protocol.md promises that a session
 * closes within 5 s of the revocation of its token.
 */
const sweepMs = 2500
const sweepBatch = 500
/**
 * The server logs an oversized profile only once per user. This is the maximum number of such users that it remembers.
 */
const maxWarned = 10_000
/**
 * The longest time for which another feature accepts a token without `exp`, counted from the token's `iat`: the
 * `push-to-talk` feature accepts tokens with its own secret for a day, in seconds.
 */
const otherMaxAgeSeconds = 86_400

type TokenReader<T> = (token: string, tokenHash: string) => T

/** @throws if no secret is configured */
export function createAuth (app: FeatureInstance, settings: z.output<typeof config>): Auth {
  const { secret, previousSecrets, maxAgeSeconds, clockToleranceSeconds, audience, issuer, type, publicClaims, queryToken } = settings
  if (secret === undefined) throw new Error('auth needs JWT_SECRET')
  const revokedTokens = app.kv.plainKeys(revokedPrefix)
  const warned = app.keep('trimmedProfiles', () => new LRUCache<UserId, true>({ maxSize: maxWarned, sizeCalculation: () => 1 }))
  const rules = {
    secrets: [secret, ...previousSecrets],
    maxAgeSeconds,
    clockToleranceSeconds,
    // The machine's clock may have been set back since the server started, so use the later of the two times.
    now: () => Math.max(Date.now(), app.clock.now()),
    audience,
    issuer,
    type,
    publicClaims
  }
  const verify = createTokenVerifier(rules)
  const read = createTokenReader({
    ...rules,
    onTrimmed (userId, removed) {
      if (warned.has(userId)) return
      warned.set(userId, true)
      app.log.warn({ userId, removed }, "a user's public claims exceed 4 KiB: omitting the largest claims")
    }
  })
  const attempts = app.metrics.counter('flylive_auth_attempts_total', 'Tokens checked, by result', ['result'])

  const isRevoked = async (tokenHash: string) => await revokedTokens.get(tokenHash) !== undefined

  /**
   * @param readToken validates a token, but does not check whether the token is revoked
   * @throws TokenRefused
   */
  async function validate<T> (token: string | undefined, readToken: TokenReader<T>): Promise<T> {
    if (token === undefined) throw new TokenRefused('missing', 'A token is required')
    const tokenHash = hashToken(token)
    const result = readToken(token, tokenHash)
    let revoked: boolean
    try {
      revoked = await isRevoked(tokenHash)
    } catch (error) {
      app.log.warn({ err: error }, 'token rejected: failed to check whether it is revoked')
      throw new TokenRefused('store_error', 'The revocation check is unavailable')
    }
    if (revoked) throw new TokenRefused('revoked', 'The token has been revoked')
    return result
  }

  async function checked<T> (token: string | undefined, readToken: TokenReader<T>): Promise<T> {
    try {
      const result = await validate(token, readToken)
      attempts.inc({ result: 'success' })
      return result
    } catch (error) {
      if (!(error instanceof TokenRefused)) throw error
      const { refusal, message, reason } = error
      attempts.inc({ result: refusal })
      if (refusal === 'store_error') throw unavailable(message)
      throw reason === undefined ? new Unauthorized(message) : withDetails(new Unauthorized(message), { reason })
    }
  }

  const identify: Auth['identify'] = async (token, verified) => await checked(token, (text, tokenHash) => {
    const identity = { ...read(text), tokenHash }
    verified?.(identity.user)
    return identity
  })

  function closeRevoked (revoked: ReadonlySet<string>): void {
    for (const session of app.sockets.all()) {
      const { tokenHash } = session.identity
      if (tokenHash !== undefined && revoked.has(tokenHash)) session.close('UNAUTHORIZED')
    }
  }
  app.cluster.on('auth:revoked', ({ tokenHash }) => closeRevoked(new Set([tokenHash])))

  /** Closes sessions whose tokens were revoked by the backend or another server. */
  async function sweep (): Promise<void> {
    const held = new Set<string>()
    for (const { identity } of app.sockets.all()) if (identity.tokenHash !== undefined) held.add(identity.tokenHash)
    const hashes = [...held]
    const revoked = new Set<string>()
    for (let i = 0; i < hashes.length; i += sweepBatch) {
      const batch = hashes.slice(i, i + sweepBatch)
      const found = await revokedTokens.getMany(batch)
      batch.forEach((hash, n) => { if (found[n] !== undefined) revoked.add(hash) })
    }
    if (revoked.size > 0) closeRevoked(revoked)
  }
  let sweeping = false
  const timer = setInterval(() => {
    if (sweeping) return
    sweeping = true
    // While the store is down, sessions stay open, and /readyz reports the outage.
    sweep().catch((err: unknown) => app.log.debug({ err }, 'lookup of revoked tokens failed')).finally(() => { sweeping = false })
  }, sweepMs).unref()

  return {
    authenticate: async (request, verified) => await identify(tokenOf(request, queryToken), verified),
    identify,
    claimsOf: async (token) => await checked(token, (text) => {
      const claims = verify(text)
      const expiresAt = expiryOf(claims, maxAgeSeconds)
      if (expiresAt !== undefined && expiresAt <= Date.now()) throw new TokenRefused('expired', 'The token has expired', 'expired')
      if (claims.is_blocked === true) throw new TokenRefused('blocked', 'The user is blocked')
      return { claims, expiresAt }
    }),
    isRevoked,
    async revoke (tokenHash, until) {
      // Even if the server cannot store the revocation, it must close the sessions.
      const failed = await revokedTokens.set(tokenHash, '1', { expiresAt: until }).then(() => undefined, (error: unknown) => error)
      await app.cluster.send('auth:revoked', { tokenHash })
      if (failed !== undefined) throw unavailable('The sessions were closed, but storing the revocation failed', failed)
    },
    expiryOf (token) {
      const claims = decodeToken(token)
      if (!claims) return
      const expiresAt = expiryOf(claims, Math.max(maxAgeSeconds, otherMaxAgeSeconds)) ?? maxDateMs
      return expiresAt > Date.now() ? expiresAt : undefined
    },
    sign: (claims, expiresIn) => createSigner({
      key: secret,
      algorithm: 'HS256',
      expiresIn,
      ...(audience === undefined ? {} : { aud: audience }),
      ...(issuer === undefined ? {} : { iss: issuer }),
      ...(type === undefined ? {} : { header: { alg: 'HS256', typ: type } })
    })({ ...claims }),
    close () {
      clearInterval(timer)
    }
  }
}

/** @returns the first token found in a request */
function tokenOf (request: HttpRequest, fromQuery: boolean): string | undefined {
  const header = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1]
  if (header !== undefined) return header
  const offered = request.headers['sec-websocket-protocol']?.split(',').map((item) => item.trim()) ?? []
  const entry = offered.find((item) => item.startsWith('bearer.'))
  if (entry !== undefined) return entry.slice('bearer.'.length)
  const { token } = request.query as { token?: unknown }
  return fromQuery && typeof token === 'string' && token !== '' ? token : undefined
}

export { hashToken }
