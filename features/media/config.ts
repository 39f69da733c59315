import { fromEnv, read, secret, z } from 'flylive-audio-server/feature'

// The URLs of STUN and TURN servers have no slashes after the scheme (RFC 7064, RFC 7065).
const host = String.raw`(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:\d{1,5})?`
const turnUrl = z.string().regex(new RegExp(String.raw`^turns?:${host}(\?transport=(udp|tcp))?$`, 'i'), 'must be URLs like turn:turn.example.com:3478 or turns:turn.example.com:5349?transport=tcp')
const iceUrl = z.union([z.string().regex(new RegExp(`^stuns?:${host}$`, 'i')), turnUrl], 'must have URLs like stun:stun.example.com:3478 or turn:turn.example.com:3478')

const iceServer = z.object({
  urls: z.union([iceUrl, z.array(iceUrl).min(1)], 'must have URLs like stun:stun.example.com:3478 or turn:turn.example.com:3478'),
  username: z.string().optional(),
  credential: z.string().optional()
}).refine(({ urls, username, credential }) => ![urls].flat().some((url) => /^turns?:/i.test(url)) || (username && credential), 'must have username and credential for TURN, like {"urls":"turn:turn.example.com:3478","username":"…","credential":"…"}; or use TURN_URLS and TURN_SECRET')

/** Settings that admins can change at run time. */
export const config = z.object({
  iceServers: fromEnv('ICE_SERVERS', secret(z.array(iceServer, 'must be JSON, like [{"urls":"stun:stun.example.com"}]').default([])
    .describe('STUN and TURN servers for clients, as JSON: [{"urls":…,"username":…,"credential":…}].')), read.json),
  turnUrls: fromEnv('TURN_URLS', z.array(turnUrl).default([])
    .describe('TURN servers (coturn), as comma-separated turn: and turns: URLs. The server generates time-limited credentials for these servers.'), read.list),
  turnSecret: fromEnv('TURN_SECRET', secret(z.string().min(8, 'must have at least 8 characters').optional()
    .describe("coturn's static-auth-secret. The server signs the credentials for TURN_URLS with this secret."))),
  commandsPerMinute: fromEnv('MEDIA_COMMANDS_PER_MINUTE', z.int().min(1).max(1_000_000).default(240)
    .describe('Maximum number of media commands (new transports, ICE restarts, new producers and unmutes) per user per minute, counted across all servers.'), read.number)
})

export const requirements = [
  { name: 'TURN_SECRET', when: (given: Readonly<Record<string, string | undefined>>) => given.TURN_URLS !== undefined, reason: 'with TURN_URLS' }
]
