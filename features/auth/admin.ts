import { z } from 'flylive-audio-server/feature'
import type { FeatureInstance } from 'flylive-audio-server/feature'
import type { Auth } from './service.ts'
import { hashToken } from './token.ts'

/**
 * Expiry times below this value are interpreted as epoch seconds, because as epoch milliseconds they would mean a time
 * before March 1973.
 */
const maxSeconds = 1e11

const byToken = z.object({ token: z.string().min(1).max(16_384) })
const byHash = z.object({
  sha256: z.string().regex(/^[0-9a-fA-F]{64}$/, 'must be the hex SHA-256 of a token').toLowerCase(),
  expiresAt: z.int().positive().transform((at) => at < maxSeconds ? at * 1000 : at)
    .describe('When the token expires, in epoch milliseconds. Values below 1e11 are interpreted as epoch seconds, as in `exp`')
})

/** POST /admin/tokens/revoke. */
export function adminRoutes (app: FeatureInstance, auth: Auth): void {
  app.post('/admin/tokens/revoke', {
    schema: { summary: 'Revokes a token and closes its sessions', body: z.union([byToken, byHash]), response: { 204: z.null() } }
  }, async (request, reply) => {
    const { body } = request
    const sha256 = 'token' in body ? hashToken(body.token) : body.sha256
    const until = 'token' in body ? auth.expiryOf(body.token) : body.expiresAt
    const revoked = await auth.isRevoked(sha256).catch(() => null)
    if (until !== undefined) await auth.revoke(sha256, until)
    app.admin.audit(request, 'token.revoke', { sha256, before: { revoked }, after: { revokedUntil: until ?? null } })
    return reply.code(204).send(null)
  })
}
