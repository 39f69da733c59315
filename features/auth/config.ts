import { randomBytes } from 'node:crypto'
import { fromEnv, read, secret, z } from 'flylive-audio-server/feature'

const jwtSecret = z.string().min(32, 'must have at least 32 characters')

/** Settings that admins can change at run time. */
export const config = z.object({
  secret: fromEnv('JWT_SECRET', secret(jwtSecret.optional()
    .describe('Secret with which the backend signs tokens (HS256). Required in production. In development, the server generates and prints a secret if this setting is empty.'))),
  previousSecrets: fromEnv('JWT_PREVIOUS_SECRETS', secret(z.array(jwtSecret).default([])
    .describe('Previous secrets, comma-separated. The server still accepts tokens signed with these secrets, so that JWT_SECRET can be changed.')), read.list),
  maxAgeSeconds: fromEnv('JWT_MAX_AGE_SECONDS', z.int().min(1).max(31_536_000).default(86_400)
    .describe('A token without exp expires this many seconds after its iat.'), read.number),
  clockToleranceSeconds: fromEnv('JWT_CLOCK_TOLERANCE_SECONDS', z.int().min(0).max(3600).default(60)
    .describe("Maximum number of seconds by which a token's nbf and iat can be in the future. This tolerance is for a backend whose clock is ahead of the server's clock."), read.number),
  audience: fromEnv('JWT_AUDIENCE', z.string().min(1).optional()
    .describe('If set, the server accepts only tokens with this aud claim.')),
  issuer: fromEnv('JWT_ISSUER', z.string().min(1).optional()
    .describe('If set, the server accepts only tokens with this iss claim.')),
  type: fromEnv('JWT_TYPE', z.string().regex(/^[A-Za-z0-9!#$&^_.+/-]{1,64}$/, 'must be a media type like at+jwt').optional()
    .describe('If set, the server accepts only tokens with this typ in their header, for example at+jwt. The comparison ignores case and the prefix application/.')),
  publicClaims: fromEnv('PUBLIC_CLAIMS', z.array(z.string()).default(['id', 'name', 'avatar', 'frame', 'gender', 'country', 'wealth_xp', 'charm_xp', 'signature'])
    .describe('Token claims of a user that the server sends to other clients. The server sends no other claims.'), read.list),
  queryToken: fromEnv('WS_QUERY_TOKEN', z.boolean().default(false)
    .describe('Also accepts a token in the ?token= parameter of the URL. URLs appear in logs, so turn this on only for clients that cannot send a token in any other way.'), read.flag)
})

export const requirements = [
  { name: 'JWT_SECRET', when: (given: Readonly<Record<string, string | undefined>>) => given.NODE_ENV === 'production', reason: 'in production' }
]

export const generated = { JWT_SECRET: () => randomBytes(32).toString('hex') }
