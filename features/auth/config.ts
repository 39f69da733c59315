import { randomBytes } from 'node:crypto'
import { fromEnv, read, secret, z } from 'flylive-audio-server/feature'

const jwtSecret = z.string().min(32, 'must have at least 32 characters')

/** Settings that admins can change at run time. */
export const config = z.object({
  secret: fromEnv('JWT_SECRET', secret(jwtSecret.optional()
    .describe('Secret shared with the backend, which signs the tokens (HS256). Required in production. In development, if no secret is set, the server generates and prints one.'))),
  previousSecrets: fromEnv('JWT_PREVIOUS_SECRETS', secret(z.array(jwtSecret).default([])
    .describe('Previous secrets, comma-separated. During a rotation, the server still accepts tokens signed with these secrets.')), read.list),
  maxAgeSeconds: fromEnv('JWT_MAX_AGE_SECONDS', z.int().min(1).max(31_536_000).default(86_400)
    .describe('How long a token without exp is valid after its iat, in seconds.'), read.number),
  clockToleranceSeconds: fromEnv('JWT_CLOCK_TOLERANCE_SECONDS', z.int().min(0).max(3600).default(60)
    .describe("How far in the future a token's nbf and iat may be, in seconds. This tolerates a backend whose clock is ahead of the server's clock."), read.number),
  audience: fromEnv('JWT_AUDIENCE', z.string().min(1).optional()
    .describe('Required aud claim of every token.')),
  issuer: fromEnv('JWT_ISSUER', z.string().min(1).optional()
    .describe('Required iss claim of every token.')),
  type: fromEnv('JWT_TYPE', z.string().regex(/^[A-Za-z0-9!#$&^_.+/-]{1,64}$/, 'must be a media type like at+jwt').optional()
    .describe('Required typ in the header of every token, for example at+jwt. The comparison ignores case and the prefix application/.')),
  publicClaims: fromEnv('PUBLIC_CLAIMS', z.array(z.string()).default(['id', 'name', 'avatar', 'frame', 'gender', 'country', 'wealth_xp', 'charm_xp', 'signature'])
    .describe('Token claims that other clients receive. Other claims stay on the server.'), read.list),
  queryToken: fromEnv('WS_QUERY_TOKEN', z.boolean().default(false)
    .describe('Also accepts tokens in the ?token= parameter of a URL. URLs appear in logs, so use this only for clients that support nothing else.'), read.flag)
})

export const requirements = [
  { name: 'JWT_SECRET', when: (given: Readonly<Record<string, string | undefined>>) => given.NODE_ENV === 'production', reason: 'in production' }
]

export const generated = { JWT_SECRET: () => randomBytes(32).toString('hex') }
