import type { FastifyRequest } from 'fastify'
import type { Identity } from './session.ts'

/** The object that the `auth` feature provides. */
export interface Authenticator {
  /**
   * Identifies the user by the token in a request.
   *
   * @param request a WebSocket upgrade request
   * @throws UNAUTHORIZED; UNAVAILABLE if the token cannot be checked
   */
  authenticate (request: FastifyRequest): Promise<Identity>
  /**
   * Identifies the user of a token, for protocols that send the token in a message.
   *
   * @param token undefined if the client sent none
   * @throws UNAUTHORIZED; UNAVAILABLE if the token cannot be checked
   */
  identify (token: string | undefined): Promise<Identity>
  /**
   * Checks a token as `identify` does, but requires no claims. Absent if the feature cannot check tokens.
   *
   * @returns the claims and the expiry of the token, in epoch milliseconds (undefined if it never expires)
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
