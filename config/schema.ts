import { availableParallelism, hostname } from 'node:os'
import { z } from 'zod'

/** A list written with commas; spaces around the items do not count. */
const list = z.string().transform((text) => text.split(',').map((item) => item.trim()).filter(Boolean))

const flag = z.stringbool({ error: 'must be true or false' })

const whole = (min: number, max: number) => z.coerce.number({ error: 'must be a number' }).int('must be a whole number').min(min).max(max)

const secret = z.string().min(32, 'must have at least 32 characters')

const iceServer = z.object({
  urls: z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]),
  username: z.string().optional(),
  credential: z.string().optional()
})

/**
 * JSON in a variable.
 *
 * @param example of a value, for who has written another
 */
const json = <T extends z.ZodType<unknown, unknown>>(schema: T, example: string) => z.string().transform((text, context) => {
  try {
    return JSON.parse(text) as unknown
  } catch {
    context.addIssue({ code: 'custom', message: `must be JSON, like ${example}` })
    return z.NEVER
  }
}).pipe(schema)

const iceServers = json(z.array(iceServer), '[{"urls":"stun:stun.example.com"}]')
const featureConfig = json(z.record(z.string(), z.record(z.string(), z.unknown())), '{"chat":{"history":100}}')

const featureToggle = z.string().regex(/^-?[a-z][a-z0-9-]*$/, 'must be feature names, or -name to leave one out')

/**
 * Every variable the server reads from its environment, in the order in which
 * the reference (docs/configuration.md) and .env.example list them. What is
 * said here is what those two say: both are made from it.
 */
export const sections = {
  Server: {
    NODE_ENV: z.enum(['development', 'production', 'test']).default('development')
      .describe('Chooses the defaults in config/ and, in production, what is required.'),
    HOST: z.string().default('0.0.0.0')
      .describe('Address to listen on. 127.0.0.1 in development and test.'),
    PORT: whole(0, 65535).default(3030)
      .describe('Port of HTTP and WebSocket; 0 takes a free one.'),
    LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info')
      .describe('Least severe level that is logged.'),
    SSL_KEY_PATH: z.string().optional()
      .describe('PEM file of the TLS key. With SSL_CERT_PATH the server itself speaks HTTPS and WSS.'),
    SSL_CERT_PATH: z.string().optional()
      .describe('PEM file of the TLS certificate chain.'),
    TRUST_PROXY: flag.default(false)
      .describe('Take the client address from X-Forwarded-For. Only behind a proxy that sets it.'),
    CORS_ORIGINS: list.default([])
      .describe('Origins, besides its own, from which browsers may connect and call; * for all.'),
    NODE_ID: z.string().regex(/^[A-Za-z0-9_.-]{1,64}$/, 'must be 1–64 characters of A–Z a–z 0–9 _ . -').default(hostname().replace(/[^A-Za-z0-9_.-]/g, '-').slice(0, 64) || 'node')
      .describe('Name of this server in logs, metrics and /health. Default: the host name.'),
    DATA_DIR: z.string().default('data')
      .describe('Folder for what must survive a crash when no Redis is configured (gifts, bans, revoked tokens), and for blobs.'),
    DRAIN_SECONDS: whole(0, 3600).default(10)
      .describe('How long a stopping server lets running sessions go on before it closes them. 0 in development and test.')
  },
  Tokens: {
    JWT_SECRET: secret.optional()
      .describe('Secret shared with the backend that signs the tokens (HS256). Required in production; made up and printed in development.'),
    JWT_PREVIOUS_SECRETS: z.string().default('').transform((text) => text.split(',').map((item) => item.trim()).filter(Boolean)).pipe(z.array(secret))
      .describe('Older secrets that still verify, comma-separated, for rotation.'),
    JWT_MAX_AGE_SECONDS: whole(1, 31_536_000).default(86_400)
      .describe('How long a token without exp is good, counted from its iat.'),
    PUBLIC_CLAIMS: list.default(['id', 'name', 'avatar', 'frame', 'gender', 'country', 'wealth_xp', 'charm_xp', 'signature'])
      .describe('Token claims that other clients see. All others stay on the server.'),
    ALLOW_ANONYMOUS: flag.default(false)
      .describe('Let clients in without a token while the auth feature is off.'),
    WS_QUERY_TOKEN: flag.default(false)
      .describe('Also take the token from ?token=. URLs end up in logs: only for clients that can do nothing else.')
  },
  Administration: {
    ADMIN_API_KEY: z.string().default('').transform((text) => text.split(',').map((item) => item.trim()).filter(Boolean)).pipe(z.array(secret))
      .describe('Keys for /admin, comma-separated. Without one /admin does not exist in production; in development one is made up and printed.'),
    METRICS_TOKEN: z.string().min(8, 'must have at least 8 characters').optional()
      .describe('Bearer token that GET /metrics asks for.')
  },
  Limits: {
    MAX_CONNECTIONS: whole(1, 1_000_000).default(20_000)
      .describe('WebSocket connections of this server; more are refused with 503 OVERLOADED.'),
    MAX_CLIENTS_PER_ROOM: whole(1, 100_000).default(5000)
      .describe('Users in one room, over all servers; more are refused with ROOM_FULL.'),
    MAX_ROOMS_PER_WORKER: whole(1, 10_000).default(100)
      .describe('Rooms with audio per media worker.'),
    RATE_LIMIT_MESSAGES_PER_MINUTE: whole(1, 10_000).default(60)
      .describe('Chat messages per user and room in a minute.'),
    SINGLE_SESSION: flag.default(false)
      .describe("End a user's older connections (close 4409) when a new one comes. Otherwise a user may be connected several times."),
    EMPTY_ROOM_SECONDS: whole(0, 86_400).default(60)
      .describe('How long an empty room, with its owner and pin, waits for somebody to come back.'),
    PRESENCE_COALESCE_OVER: whole(0, 100_000).default(200)
      .describe('Rooms with more members than this get room:presence once a second instead of room:userJoined and room:userLeft.'),
    WS_MAX_FRAME_BYTES: whole(1024, 16_777_216).default(65_536)
      .describe('Largest frame a client may send (close 1009).'),
    WS_MAX_QUEUE_BYTES: whole(16_384, 268_435_456).default(1_048_576)
      .describe('Largest backlog of a socket that does not read (close 4410).'),
    WS_MESSAGES_PER_SECOND: whole(1, 100_000).default(100)
      .describe('Messages a socket may send per second, sustained (close 4429).'),
    WS_MESSAGES_BURST: whole(1, 100_000).default(200)
      .describe('Messages a socket may send at once above that.'),
    WS_PING_SECONDS: whole(1, 3600).default(25)
      .describe('Interval of WebSocket pings.'),
    WS_PONG_TIMEOUT_SECONDS: whole(1, 3600).default(10)
      .describe('How long a pong may take before the connection is ended.')
  },
  Redis: {
    REDIS_URL: z.url({ protocol: /^rediss?$/, error: 'must be like redis://[:password@]host:6379/3' }).optional()
      .describe('Redis to use, instead of the parts below: without a number at its end it is database 0. With neither, everything is kept in this process (one server only).'),
    REDIS_HOST: z.string().optional()
      .describe('Host of the Redis. Setting it turns Redis on.'),
    REDIS_PORT: whole(1, 65535).default(6379)
      .describe('Port of the Redis.'),
    REDIS_PASSWORD: z.string().optional()
      .describe('Password of the Redis.'),
    REDIS_DB: whole(0, 1_000_000).default(3)
      .describe('Database number; 3 keeps clear of the backend.'),
    REDIS_TLS: flag.default(false)
      .describe('Speak TLS to the Redis.')
  },
  Media: {
    MEDIASOUP_LISTEN_IP: z.string().default('0.0.0.0')
      .describe('Local address for audio (UDP and TCP). 127.0.0.1 in development and test.'),
    MEDIASOUP_ANNOUNCED_IP: z.string().optional()
      .describe('Address under which clients reach this server. Required in production.'),
    MEDIASOUP_RTC_MIN_PORT: whole(1024, 65535).default(10_000)
      .describe('First port for audio. Each worker uses one port, UDP and TCP, counted from here.'),
    MEDIASOUP_RTC_MAX_PORT: whole(1024, 65535).default(59_999)
      .describe('Last port for audio, not below the first. Ports that are taken are passed over up to here.'),
    MEDIASOUP_WORKERS: whole(1, 256).default(availableParallelism())
      .describe('Media worker processes. Default: one a core.'),
    ICE_SERVERS: iceServers.default([])
      .describe('STUN and TURN servers for clients, as JSON: [{"urls":…,"username":…,"credential":…}].'),
    TURN_URLS: list.default([])
      .describe('TURN servers (coturn) that take time-limited credentials, comma-separated turn: and turns: URLs.'),
    TURN_SECRET: z.string().min(8, 'must have at least 8 characters').optional()
      .describe("coturn's static-auth-secret, from which those credentials are made.")
  },
  Features: {
    FEATURES: z.string().default('').transform((text) => text.split(',').map((item) => item.trim()).filter(Boolean)).pipe(z.array(featureToggle))
      .describe('Features to run: auth,media names all of them; -media leaves one out of the defaults.'),
    FEATURES_PATH: list.default([])
      .describe('More folders to look for features in, comma-separated.'),
    FEATURES_PACKAGES: list.default([])
      .describe('Features that are npm packages, comma-separated; looked for from the folder in which the server was started.'),
    FEATURES_CONFIG: featureConfig.default({})
      .describe('Settings of features by name, as JSON: {"chat":{"history":100}}. GET /admin/features tells what can be set.'),
    FEATURES_WATCH: flag.default(false)
      .describe('Reload a feature when its files change. On in development.'),
    FEATURES_DRAIN_SECONDS: whole(0, 600).default(10)
      .describe('How long calls that run in a feature may go on when it is replaced or turned off; then they fail with UNAVAILABLE.'),
    SEAT_GRACE_SECONDS: whole(0, 3600).default(15)
      .describe('How long a seat waits for its user after a lost connection.'),
    CHAT_HISTORY: whole(0, 1000).default(50)
      .describe('Chat messages given to those who join.')
  },
  Backend: {
    LARAVEL_API_URL: z.url('must be a URL').optional()
      .describe('Base URL of the Laravel backend. Setting it turns laravel-bridge on.'),
    LARAVEL_INTERNAL_KEY: secret.optional()
      .describe('Sent as X-Internal-Key. Required with LARAVEL_API_URL.'),
    LARAVEL_API_TIMEOUT_MS: whole(1, 120_000).default(10_000)
      .describe('How long a call to the backend may take.'),
    LARAVEL_EVENTS_CHANNEL: z.string().min(1).default('flylive:msab:events')
      .describe("Redis channel of the backend's events, with the backend's own key prefix where it has one."),
    LARAVEL_EVENTS: list.default([
      'balance.updated', 'reward.earned', 'badge.earned', 'level.up',
      'room.level_up', 'room.participant_count', 'room.member_joined', 'room.member_left', 'room.member_kicked', 'room.member_blocked',
      'room.member_role_changed', 'room.join_request_created', 'room.join_request_approved', 'room.join_request_rejected',
      'income_target.completed', 'income_target.member_completed',
      'agency.invitation', 'agency.join_request', 'agency.join_request_approved', 'agency.join_request_rejected', 'agency.member_kicked',
      'agency.member_joined', 'agency.member_left', 'agency.dissolved',
      'config:invalidate', 'asset:invalidate'
    ])
      .describe("Names of the backend's events that are passed on to clients; others are dropped and counted.")
  }
} as const

const shape = Object.assign({}, ...Object.values(sections)) as
  typeof sections.Server & typeof sections.Tokens & typeof sections.Administration & typeof sections.Limits &
  typeof sections.Redis & typeof sections.Media & typeof sections.Features & typeof sections.Backend

export const schema = z.object(shape)

/** Rules that concern more than one variable: which one is needed, when, and why. */
export const requirements: readonly { name: keyof Environment, when: (given: Partial<Record<keyof Environment, string>>) => boolean, reason: string }[] = [
  { name: 'JWT_SECRET', when: (given) => given.NODE_ENV === 'production', reason: 'in production' },
  { name: 'MEDIASOUP_ANNOUNCED_IP', when: (given) => given.NODE_ENV === 'production', reason: 'in production: the address clients send audio to' },
  { name: 'SSL_CERT_PATH', when: (given) => given.SSL_KEY_PATH !== undefined, reason: 'with SSL_KEY_PATH' },
  { name: 'SSL_KEY_PATH', when: (given) => given.SSL_CERT_PATH !== undefined, reason: 'with SSL_CERT_PATH' },
  { name: 'TURN_SECRET', when: (given) => given.TURN_URLS !== undefined, reason: 'with TURN_URLS' },
  { name: 'LARAVEL_INTERNAL_KEY', when: (given) => given.LARAVEL_API_URL !== undefined, reason: 'with LARAVEL_API_URL' }
]

/** Variables whose values must never be shown. */
export const secrets = [
  'JWT_SECRET', 'JWT_PREVIOUS_SECRETS', 'ADMIN_API_KEY', 'METRICS_TOKEN', 'REDIS_URL', 'REDIS_PASSWORD',
  'TURN_SECRET', 'ICE_SERVERS', 'LARAVEL_INTERNAL_KEY'
] as const

export type Environment = z.output<typeof schema>
