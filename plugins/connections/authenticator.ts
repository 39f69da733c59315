import type { FastifyRequest } from 'fastify'
import type { Identity, User } from './session.ts'

/** The object that the `auth` feature provides. */
export interface Authenticator {
  /**
   * Identifies the user by the token in a request.
   *
   * @param request a WebSocket upgrade request
   * @param verified may be called with the user of a valid token before the revocation check completes, so that the
   *   caller can look up other data during the check
   * @throws UNAUTHORIZED; UNAVAILABLE if the token cannot be checked
   */
  authenticate (request: FastifyRequest, verified?: (user: User) => void): Promise<Identity>
  /**
   * Identifies the user of a token, for protocols that send the token in a message.
   *
   * @param token the token; undefined if the client sent no token
   * @param verified see `authenticate`
   * @throws UNAUTHORIZED; UNAVAILABLE if the token cannot be checked
   */
  identify (token: string | undefined, verified?: (user: User) => void): Promise<Identity>
  /**
   * Like `identify`, but does not require any particular claims in the token. Absent if the feature cannot check
   * tokens.
   *
   * @returns the token's claims, and its expiry in epoch milliseconds (undefined if it never expires)
   * @throws UNAUTHORIZED; UNAVAILABLE if the token cannot be checked
   */
  claimsOf? (token: string): Promise<{ claims: Readonly<Record<string, unknown>>, expiresAt: number | undefined }>
  /**
   * Signs a token, for guests and tests. Absent if the feature cannot sign tokens.
   *
   * @param expiresIn lifetime of the token, for example `12h`
   */
  sign? (claims: object, expiresIn: string): string
}

declare module '../features/feature.ts' {
  interface FeatureSlots {
    auth: Authenticator
  }
}
