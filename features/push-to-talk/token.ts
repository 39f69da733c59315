import { createHash } from 'node:crypto'
import { findTextIssue, Unauthorized, unavailable, userId, withDetails, z } from 'flylive-audio-server/feature'
import type { FeatureInstance, HttpRequest, Identity } from 'flylive-audio-server/feature'

/** Lifetime of tokens that are signed with PTT_JWT_SECRET and have no `exp`, counted from `iat`, in milliseconds. */
const maxAgeMs = 86_400_000

const claimsSchema = z.object({
  userId: userId.optional(),
  uid: userId.optional(),
  id: userId.optional(),
  name: z.string().min(1).max(256).refine((name) => !findTextIssue(name)).optional().catch(undefined),
  iat: z.number().optional(),
  exp: z.number().optional()
}).refine((claims) => (claims.userId ?? claims.uid ?? claims.id) !== undefined, { error: 'userId' })

/** A radio's device id, and the claims in the radio's token that do not describe the user. */
export interface RadioClaims extends Record<string, unknown> {
  deviceId: string
  channelIds?: unknown
  /** When the token was issued, in epoch seconds. */
  iat?: number
}

const headerOf = ({ headers }: HttpRequest, name: string): string | undefined => {
  const value = headers[name]
  return typeof value === 'string' && value !== '' ? value : undefined
}

/**
 * @returns the subprotocols that a client offers. Clients that cannot set headers send the token and the device id as
 *   subprotocols
 */
const offeredBy = (request: HttpRequest): string[] =>
  headerOf(request, 'sec-websocket-protocol')?.split(',').map((item) => item.trim()).filter(Boolean) ?? []

/**
 * Returns whether the signature of a token is in canonical form. The last character of a signature has unused bits, so
 * several strings are valid encodings of the same token. The server must accept only one of them, because a token is
 * revoked by the hash of its string.
 */
function isCanonical (token: string): boolean {
  const signature = token.split('.').at(-1) ?? ''
  return Buffer.from(signature, 'base64url').toString('base64url') === signature
}

/** @returns a function that verifies tokens with the feature's own secret */
async function createOwnVerifier (app: FeatureInstance, secret: string) {
  const { createVerifier } = await import('fast-jwt')
  const verify = createVerifier({ key: secret, algorithms: ['HS256'], cache: false, clockTolerance: 60_000 })
  const revoked = app.kv.plainKeys('auth:revoked:')
  return async (token: string) => {
    if (!isCanonical(token)) throw new Unauthorized('The token is not valid')
    let claims: Record<string, unknown>
    try {
      claims = verify(token) as Record<string, unknown>
    } catch (error) {
      const isExpired = (error as { code?: string }).code === 'FAST_JWT_EXPIRED'
      throw isExpired ? withDetails(new Unauthorized('The token has expired'), { reason: 'expired' }) : new Unauthorized('The token is not valid')
    }
    const { exp, iat } = claims
    const expiresAt = typeof exp === 'number' ? exp * 1000 : typeof iat === 'number' ? iat * 1000 + maxAgeMs : undefined
    if (expiresAt !== undefined && expiresAt <= Date.now()) throw withDetails(new Unauthorized('The token has expired'), { reason: 'expired' })
    if (claims.is_blocked === true) throw new Unauthorized('The user is blocked')
    // If it is unknown whether the token was revoked, the token is rejected.
    const isRevoked = await revoked.get(hash(token)).catch((error: unknown) => { throw unavailable('The revocation check is unavailable', error) })
    if (isRevoked !== undefined) throw new Unauthorized('The token has been revoked')
    return { claims, expiresAt }
  }
}

const hash = (token: string) => createHash('sha256').update(token).digest('hex')

/**
 * @param secret the key that verifies radio tokens; undefined if radios use the `auth` feature's tokens
 * @returns a function that identifies a connecting radio, and throws UNAUTHORIZED or UNAVAILABLE
 */
export async function createAuthentication (app: FeatureInstance, secret: string | undefined): Promise<(request: HttpRequest) => Promise<Identity>> {
  const verifyOwn = secret === undefined ? undefined : await createOwnVerifier(app, secret)

  async function verify (token: string) {
    if (verifyOwn) return await verifyOwn(token)
    const claimsOf = app.features.getFeature('auth')?.claimsOf
    if (!claimsOf) throw unavailable('Tokens cannot be checked: the auth feature is off and PTT_JWT_SECRET is not set')
    return await claimsOf(token)
  }

  return async (request) => {
    const offered = offeredBy(request)
    const token = headerOf(request, 'token') ?? headerOf(request, 'voicepingtoken') ?? offered[0]
    if (token === undefined) throw new Unauthorized('A token is required')
    const deviceId = headerOf(request, 'device_id') ?? headerOf(request, 'deviceid') ?? offered[1] ?? token
    const { claims, expiresAt } = await verify(token)
    const parsed = claimsSchema.safeParse(claims)
    if (!parsed.success) throw new Unauthorized('The token has no valid userId')
    const { userId, uid, id: nativeId, name } = parsed.data
    const id = (userId ?? uid ?? nativeId) as string | number
    const shown = name ?? String(id)
    const radio: RadioClaims = { deviceId: deviceId.slice(0, 1024), channelIds: claims.channelIds, ...(parsed.data.iat === undefined ? {} : { iat: parsed.data.iat }) }
    return {
      user: { id, name: shown, roles: [], profile: { userId: id, id, name: shown } },
      expiresAt,
      tokenHash: hash(token),
      claims: radio
    }
  }
}
