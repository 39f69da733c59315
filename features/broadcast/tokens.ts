import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { FeatureInstance } from 'flylive-audio-server/feature'

/** Tokens that give access to the keys of encrypted broadcasts. Every server accepts them. */
export interface KeyTokens {
  /** @returns a token for one room */
  sign (roomId: string, expiresAt: number): string
  isValid (token: string, roomId: string): boolean
}

const secretKey = 'secret'

/**
 * Reads the secret with which all servers sign these tokens. If there is no secret yet, creates it.
 *
 * @throws UNAVAILABLE
 */
export async function createKeyTokens ({ clock, kv }: FeatureInstance): Promise<KeyTokens> {
  const values = kv.namespace('broadcast')
  const created = randomBytes(32).toString('hex')
  const secret = await values.compareAndSet(secretKey, undefined, created) ? created : await values.get(secretKey) ?? created
  const digest = (roomId: string, expiresAt: number) => createHmac('sha256', secret).update(`${expiresAt}.${roomId}`).digest()
  return {
    sign: (roomId, expiresAt) => `${expiresAt}.${digest(roomId, expiresAt).toString('base64url')}`,
    isValid (token, roomId) {
      const [time = '', signature = ''] = token.split('.')
      const expiresAt = Number(time)
      if (!/^\d{1,15}$/.test(time) || expiresAt <= clock.now()) return false
      const [given, expected] = [Buffer.from(signature, 'base64url'), digest(roomId, expiresAt)]
      return given.length === expected.length && timingSafeEqual(given, expected)
    }
  }
}
