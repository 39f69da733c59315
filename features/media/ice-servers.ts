import { createHmac } from 'node:crypto'
import type { Config, UserId } from 'flylive-audio-server/feature'

export interface IceServer {
  urls: string | string[]
  username?: string | undefined
  credential?: string | undefined
}

/** How long a TURN credential is good, in seconds: longer than anybody stays connected. */
const turnTtlSeconds = 86_400

/**
 * The STUN and TURN servers a client is told of: the configured ones, and the
 * coturn servers with credentials of its own for a day. Those follow coturn's
 * `use-auth-secret`: the name is the end of its time and the user, the
 * password the base64 HMAC-SHA1 of the name.
 *
 * @param now epoch milliseconds
 */
export function iceServersFor (config: Pick<Config, 'ICE_SERVERS' | 'TURN_URLS' | 'TURN_SECRET'>, userId: UserId, now: number): IceServer[] {
  const { ICE_SERVERS, TURN_URLS, TURN_SECRET } = config
  if (TURN_URLS.length === 0 || TURN_SECRET === undefined) return [...ICE_SERVERS]
  const username = `${Math.floor(now / 1000) + turnTtlSeconds}:${userId}`
  const credential = createHmac('sha1', TURN_SECRET).update(username).digest('base64')
  return [...ICE_SERVERS, { urls: [...TURN_URLS], username, credential }]
}
