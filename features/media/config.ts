import { fromEnv, read, secret, z } from 'flylive-audio-server/feature'

const iceServer = z.object({
  urls: z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]),
  username: z.string().optional(),
  credential: z.string().optional()
})

/** Settings that an admin can change at run time. */
export const config = z.object({
  iceServers: fromEnv('ICE_SERVERS', secret(z.array(iceServer, 'must be JSON, like [{"urls":"stun:stun.example.com"}]').default([])
    .describe('STUN and TURN servers for clients, as JSON: [{"urls":…,"username":…,"credential":…}].')), read.json),
  turnUrls: fromEnv('TURN_URLS', z.array(z.string()).default([])
    .describe('TURN servers (coturn) with time-limited credentials, as comma-separated turn: and turns: URLs.'), read.list),
  turnSecret: fromEnv('TURN_SECRET', secret(z.string().min(8, 'must have at least 8 characters').optional()
    .describe("coturn's static-auth-secret, which signs those credentials.")))
})

export const requirements = [
  { name: 'TURN_SECRET', when: (given: Readonly<Record<string, string | undefined>>) => given.TURN_URLS !== undefined, reason: 'with TURN_URLS' }
]
