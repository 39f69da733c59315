import { createHmac } from 'node:crypto'
import type { UserId, z } from 'flylive-audio-server/feature'
import type { config } from './config.ts'

type Settings = z.output<typeof config>
export type IceServer = Settings['iceServers'][number]

/** Lifetime of a TURN credential, in seconds. */
const turnTtlSeconds = 86_400

/**
 * Returns the STUN and TURN servers for a client: the servers in `iceServers`, and the servers in `turnUrls` with
 * credentials for this user that expire after a day. The credentials follow coturn's `use-auth-secret`: the username is
 * `<expiry>:<user id>`, and the password is the base64 HMAC-SHA1 of the username.
 *
 * @param now epoch milliseconds
 */
export function iceServersFor ({ iceServers, turnUrls, turnSecret }: Settings, userId: UserId, now: number): IceServer[] {
  if (turnUrls.length === 0 || turnSecret === undefined) return [...iceServers]
  const username = `${Math.floor(now / 1000) + turnTtlSeconds}:${userId}`
  const credential = createHmac('sha1', turnSecret).update(username).digest('base64')
  return [...iceServers, { urls: [...turnUrls], username, credential }]
}
