import { createHmac } from 'node:crypto'
import type { FeatureConfig, UserId } from 'flylive-audio-server/feature'

export interface IceServer {
  urls: string | string[]
  username?: string | undefined
  credential?: string | undefined
}

/** Lifetime of a TURN credential, in seconds: longer than a session. */
const turnTtlSeconds = 86_400

/**
 * Returns the STUN and TURN servers for a client: the configured ones, and coturn
 * servers with per-user credentials that expire after a day. The credentials
 * follow coturn's `use-auth-secret`: the username is the expiry and the user id,
 * the password is the base64 HMAC-SHA1 of the username.
 *
 * @param now epoch milliseconds
 */
export function iceServersFor (config: Pick<FeatureConfig, 'ICE_SERVERS' | 'TURN_URLS' | 'TURN_SECRET'>, userId: UserId, now: number): IceServer[] {
  const { ICE_SERVERS, TURN_URLS, TURN_SECRET } = config
  if (TURN_URLS.length === 0 || TURN_SECRET === undefined) return [...ICE_SERVERS]
  const username = `${Math.floor(now / 1000) + turnTtlSeconds}:${userId}`
  const credential = createHmac('sha1', TURN_SECRET).update(username).digest('base64')
  return [...ICE_SERVERS, { urls: [...TURN_URLS], username, credential }]
}
