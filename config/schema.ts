import { accessSync, constants, statSync } from 'node:fs'
import { availableParallelism, hostname } from 'node:os'
import { resolve } from 'node:path'
import { z } from 'zod'
import { read } from '../plugins/schema/variables.ts'
import { announcedAddress, host, hostAndPort, listenHost, listenIp, origin, redisUrl, trustedProxies } from './addresses.ts'
import type { Requirement } from './feature-settings.ts'

/** A comma-separated list; spaces around the items are ignored. */
const list = z.string().transform((text) => read.list(text) as string[])

/** Text without leading or trailing spaces. */
const withoutOuterSpaces = z.string().refine((text) => text.trim() === text, {
  error: ({ input }) => `must not begin or end with a space; use ${String(input).trim()} instead of "${String(input)}"`
})

const flag = z.stringbool({ error: 'must be true or false' })

/** A whole number. Text that contains only spaces is rejected, although JavaScript converts it to 0. */
const whole = (min: number, max: number) => z.string().regex(/\S/, 'must be a number')
  .pipe(z.coerce.number<string>({ error: 'must be a number' }).int('must be a whole number').min(min).max(max))

/**
 * A key or token that clients send in an HTTP header. Only ASCII characters are accepted, because HTTP clients encode
 * other characters in different ways. Spaces around the secret are ignored: an HTTP header cannot contain them, and a
 * file with a secret often ends with a line break.
 */
const headerSecret = (length: number) => z.string().trim().min(length, `must have at least ${length} characters`)
  .regex(/^[ -~]*$/, 'must have only ASCII characters')

/** Feature settings as JSON, keyed by feature name. */
const featureConfig = z.string().transform(read.json).pipe(
  z.record(z.string(), z.record(z.string(), z.unknown()), 'must be JSON, like {"chat":{"history":100}}')
)

/** The path of an existing file or folder that the server may read, absolute or relative to the working directory. */
const existing = (kind: 'file' | 'folder') => z.string().superRefine((path, { addIssue }) => {
  try {
    const stats = path.includes('\0') ? undefined : statSync(path, { throwIfNoEntry: false })
    if (!(kind === 'file' ? stats?.isFile() : stats?.isDirectory())) addIssue(`must be a ${kind}; ${resolve(path)} is not`)
    else accessSync(path, constants.R_OK)
  } catch (error) {
    addIssue(`must be a ${kind} that the server may read: ${(error as Error).message}`)
  }
})
const file = existing('file')
const folder = existing('folder')

const featureToggle = z.string().regex(/^-?[a-z][a-z0-9-]*$/, 'must be feature names, or -name to remove one')

/** Parses `NODE_ID=URL` into a pair. */
const nodeUrl = z.string().transform((text, { addIssue }): [node: string, url: string] => {
  const [, node = '', url = ''] = /^([^=]*)=(.*)$/.exec(text) ?? []
  const { protocol = '' } = URL.parse(url) ?? {}
  if (node === '' || !/^(?:https?|wss?):$/.test(protocol)) addIssue(`must be NODE_ID=URL, like audio-1=https://audio-1.example.com; ${text} is not`)
  return [node, url]
})

/**
 * All environment variables of the kernel. docs/configuration.md and .env.example list the variables in the same order,
 * because both files are generated from this schema and the schemas in features/<name>/config.ts.
 */
export const sections = {
  Server: {
    NODE_ENV: z.enum(['development', 'production', 'test']).default('development')
      .describe('Selects the defaults from config/. Production requires more variables.'),
    HOST: listenHost.default('0.0.0.0')
      .describe('Address that the server listens on. Default in development and test: 127.0.0.1.'),
    PORT: whole(0, 65535).default(3030)
      .describe('Port for HTTP and WebSocket; 0 selects a free port.'),
    LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info')
      .describe('Minimum log level.'),
    SSL_KEY_PATH: file.optional()
      .describe('PEM file with the TLS key. If this variable and SSL_CERT_PATH are set, the server uses HTTPS and WSS. The server reloads both files when they change.'),
    SSL_CERT_PATH: file.optional()
      .describe('PEM file with the TLS certificate chain.'),
    TRUST_PROXY: trustedProxies.default(false)
      .describe("Trusted proxies: the number of proxies in the chain, or their addresses and networks, comma-separated. The server accepts the header X-Forwarded-For, which contains the client's address, only from these proxies. true means one proxy."),
    CORS_ORIGINS: list.pipe(z.array(origin)).default([])
      .describe("Origins of web pages that may connect; * allows all. The server's own origin is always allowed. In development, loopback origins are also allowed."),
    ALLOW_ANONYMOUS: flag.default(false)
      .describe('Accepts clients without a token while the auth feature is off. With the auth feature, only /api/rooms accepts requests without a token.'),
    NODE_ID: z.string().regex(/^(?!\.{1,2}$)[A-Za-z0-9_.-]{1,64}$/, 'must be 1–64 characters of A–Z a–z 0–9 _ . -, but not . or ..').default(hostname().replace(/[^A-Za-z0-9_.-]/g, '-').slice(0, 64) || 'node')
      .describe('Name of this server in metrics and logs. In /health and on the admin page, the name has a suffix that changes at each start. Default: the host name.'),
    NODE_URLS: list.pipe(z.array(nodeUrl)).default([])
      .describe('URLs at which clients can reach each server directly, as comma-separated NODE_ID=URL pairs. A server that is full or shutting down refers clients to another server.'),
    DATA_DIR: z.string().default('data')
      .describe('Folder for blobs and recordings. Without Redis, the folder also contains the data that must survive a crash: rooms with their owners and PINs, gifts, bans and revoked tokens.'),
    OWNER_GRACE_SECONDS: whole(0, 86_400).default(60)
      .describe("Grace period, in seconds, for a room's owner who is absent while other users are in the room. After the grace period, another member becomes the owner. With 0, the owner never changes. If a backend determines owners, this variable has no effect."),
    DRAIN_SECONDS: whole(0, 3600).default(10)
      .describe('At shutdown, the server waits this many seconds for clients to leave, and then closes the remaining connections. Default in development and test: 0.')
  },
  Administration: {
    ADMIN_API_KEY: list.pipe(z.array(headerSecret(32))).default([])
      .describe('Keys for /admin, comma-separated. If no key is set, there is no /admin in production; in development, the server generates and prints a key.'),
    METRICS_TOKEN: headerSecret(8).optional()
      .describe('Bearer token for GET /metrics. Default: no token is required.')
  },
  Limits: {
    MAX_CONNECTIONS: whole(1, 1_000_000).default(20_000)
      .describe('Maximum number of WebSocket connections per server. Further connections are rejected with 503 OVERLOADED.'),
    MAX_WORKERS_CPU_PERCENT: whole(1, 100).optional()
      .describe('If the average CPU use of the media workers reaches this percentage of a core, new connections are rejected with 503 OVERLOADED. Default: no limit.'),
    MAX_CONNECTIONS_PER_USER: whole(1, 1_000_000).default(10)
      .describe('Maximum number of WebSocket connections per user, counted across all servers. Further connections are rejected with 429 TOO_MANY_CONNECTIONS.'),
    MAX_CONNECTIONS_PER_IP: whole(1, 1_000_000).default(200)
      .describe('Maximum number of WebSocket connections per client address, counted on each server. Further connections are rejected with 429 TOO_MANY_CONNECTIONS. Without TRUST_PROXY, an address can have 64 additional connections for HTTP requests. Loopback and private addresses are exempt unless this variable is set.'),
    JOINS_PER_MINUTE: whole(1, 1_000_000).default(60)
      .describe('Maximum number of joins per user per minute, counted across all servers. Further requests are rejected with RATE_LIMITED.'),
    ROOMS_CREATED_PER_MINUTE: whole(1, 1_000_000).default(20)
      .describe('Maximum number of rooms that a user can create per minute, counted across all servers. Further requests are rejected with RATE_LIMITED.'),
    ROOM_UPDATES_PER_MINUTE: whole(1, 1_000_000).default(30)
      .describe('Maximum number of title and topic changes per user per minute, counted across all servers. Further requests are rejected with RATE_LIMITED.'),
    USER_LOOKUPS_PER_MINUTE: whole(1, 1_000_000).default(60)
      .describe('Maximum number of user:getRoom requests per user per minute, counted across all servers. Further requests are rejected with RATE_LIMITED.'),
    MAX_CLIENTS_PER_ROOM: whole(1, 100_000).default(5000)
      .describe('Maximum number of users per room, counted across all servers. Further joins are rejected with ROOM_FULL.'),
    MEDIA_ROOMS_PER_USER: whole(1, 1_000_000).default(5)
      .describe('Maximum number of rooms in which a user can have audio at the same time, counted across all servers. Further requests are rejected with MEDIA_LIMIT.'),
    MAX_ROOMS_PER_WORKER: whole(1, 10_000).default(100)
      .describe('Maximum number of rooms with audio per media worker.'),
    SINGLE_SESSION: flag.default(false)
      .describe("Closes a user's older connections (close code 4409) when the user connects again. If false, a user can have several connections."),
    PRESENCE_COALESCE_OVER: whole(0, 100_000).default(200)
      .describe('Rooms with more members than this number receive room:presence once per second instead of room:userJoined and room:userLeft.'),
    WS_MAX_FRAME_BYTES: whole(1024, 16_777_216).default(65_536)
      .describe('Maximum size of a frame from a client, in bytes. If a frame is larger, the server closes the connection (close code 1009).'),
    WS_MAX_QUEUE_BYTES: whole(16_384, 268_435_456).default(1_048_576)
      .describe("Maximum size of a socket's send queue, in bytes. If the queue is full, the server closes the connection (close code 4410)."),
    WS_MESSAGES_PER_SECOND: whole(1, 100_000).default(100)
      .describe('Maximum sustained rate per socket, in messages per second. If a client sends more, the server closes the connection (close code 4429).'),
    WS_MESSAGES_BURST: whole(1, 100_000).default(200)
      .describe('Maximum burst per socket, in messages.'),
    WS_BYTES_PER_SECOND: whole(1024, 1_073_741_824).default(262_144)
      .describe('Maximum sustained rate per socket, in bytes per second. If a client sends more, the server closes the connection (close code 4429).'),
    WS_BYTES_BURST: whole(65_536, 1_073_741_824).default(1_048_576)
      .describe('Maximum burst per socket, in bytes. Must not be below WS_MAX_FRAME_BYTES.'),
    WS_PING_SECONDS: whole(1, 3600).default(25)
      .describe('Interval between WebSocket pings, in seconds.'),
    WS_PONG_TIMEOUT_SECONDS: whole(1, 3600).default(10)
      .describe('If no pong arrives within this many seconds after a ping, the server closes the connection.')
  },
  Redis: {
    REDIS_URL: redisUrl.optional()
      .describe('URL of the Redis server; replaces REDIS_HOST, REDIS_PORT, REDIS_USERNAME, REDIS_PASSWORD, REDIS_DB and REDIS_TLS. If the URL has no database number, the server uses database 0. Without Redis, only one server is possible, and this server keeps its state in memory and in DATA_DIR.'),
    REDIS_HOST: host.optional()
      .describe('Host of the Redis server. Setting this variable turns Redis on.'),
    REDIS_SENTINELS: list.pipe(z.array(hostAndPort(26_379, 'sentinel-1'))).default([])
      .describe('Addresses of the Sentinels, comma-separated: sentinel-1:26379,sentinel-2:26379. Replaces REDIS_HOST and REDIS_PORT. Ignored if REDIS_URL is set.'),
    REDIS_SENTINEL_NAME: z.string().min(1).default('mymaster')
      .describe('Name of the primary in the Sentinel configuration.'),
    REDIS_SENTINEL_PASSWORD: z.string().optional()
      .describe('Password for the Sentinels, if they require one.'),
    REDIS_CLUSTER_NODES: list.pipe(z.array(hostAndPort(6379, 'redis-1'))).default([])
      .describe('Addresses of some nodes of a Redis Cluster, comma-separated: redis-1:6379,redis-2:6379. Replaces REDIS_HOST and REDIS_PORT. Ignored if REDIS_URL or REDIS_SENTINELS is set. The server stores all of its keys on one primary of the cluster.'),
    REDIS_PORT: whole(1, 65535).default(6379)
      .describe('Port of the Redis server.'),
    REDIS_USERNAME: z.string().min(1).optional()
      .describe('Redis ACL user. Default: the user `default`.'),
    REDIS_PASSWORD: z.string().optional()
      .describe('Password for Redis.'),
    REDIS_DB: whole(0, 1_000_000).default(3)
      .describe('Redis database number. The default is 3, because the backend does not use database 3. A Redis Cluster has no databases, so the server includes this number in its keys.'),
    REDIS_TLS: flag.default(false)
      .describe('Uses TLS for the Redis connection.')
  },
  Blobs: {
    BLOBS_S3_URL: z.url({ protocol: /^https?$/, error: 'must be like https://s3.example.com/bucket' }).optional()
      .describe('URL of an S3 bucket for blobs (large values that features store). Without this variable, blobs are files in DATA_DIR.'),
    BLOBS_S3_REGION: z.string().min(1).default('auto')
      .describe('Region of the bucket. Some S3 services accept only their own region names.'),
    BLOBS_S3_ACCESS_KEY_ID: z.string().min(1).optional()
      .describe('Access key ID for the bucket.'),
    BLOBS_S3_SECRET_ACCESS_KEY: z.string().min(1).optional()
      .describe('Secret access key for the bucket.')
  },
  Media: {
    MEDIASOUP_LISTEN_IP: listenIp.default('0.0.0.0')
      .describe('Local IP address on which the server receives and sends audio (UDP and TCP). Default in test: 127.0.0.1.'),
    MEDIASOUP_ANNOUNCED_IP: withoutOuterSpaces.pipe(list).pipe(z.array(announcedAddress)).default([])
      .describe('Addresses that the server announces to clients for audio: IP addresses and host names, comma-separated. Required in production and if MEDIASOUP_LISTEN_IP is set to 0.0.0.0 or ::. If neither this variable nor MEDIASOUP_LISTEN_IP is set, the server announces 127.0.0.1 and, in development, the other addresses of this machine.'),
    VOICE_MAX_KBPS: whole(6, 510).default(96)
      .describe('Allowed bit rate of a voice, in kbit/s. The server closes a producer that exceeds 1.5 times this bit rate for 3 s.'),
    MUSIC_MAX_KBPS: whole(6, 510).default(256)
      .describe('Allowed bit rate of music, in kbit/s, enforced in the same way as VOICE_MAX_KBPS. Clients send music at this bit rate.'),
    MIX_VOICES: whole(1, 100).default(3)
      .describe('Maximum number of voices in the mix of a room. The mixer selects the loudest voices. Music is always in the mix.'),
    MEDIASOUP_RTC_MIN_PORT: whole(1024, 65535).default(10_000)
      .describe('First port for audio. Each media worker uses one port for UDP and TCP.'),
    MEDIASOUP_RTC_MAX_PORT: whole(1024, 65535).default(59_999)
      .describe('Last port for audio. The server skips ports that are in use.'),
    RELAY_IP: listenIp.optional()
      .describe('IP address at which this server receives audio from other servers. Default: MEDIASOUP_LISTEN_IP; if that is 0.0.0.0 or ::, the first IP address in MEDIASOUP_ANNOUNCED_IP; if there is none, an IPv4 address of this machine.'),
    RELAY_MIN_PORT: whole(1024, 65535).default(20_000)
      .describe('First UDP port for audio between servers. A room uses up to two ports for each other server that has audio in the room: one to send and one to receive.'),
    RELAY_MAX_PORT: whole(1024, 65535).default(20_999)
      .describe('Last UDP port for audio between servers.'),
    MEDIASOUP_WORKERS: whole(1, 256).default(availableParallelism())
      .describe('Number of media worker processes. Default: one per core.')
  },
  Features: {
    FEATURES: list.pipe(z.array(featureToggle)).default([])
      .describe('Features to run, comma-separated. For example, auth,media runs only these two features, and -media runs all default features except media.'),
    FEATURES_PATH: list.pipe(z.array(folder)).default([])
      .describe('Additional folders with features, comma-separated.'),
    FEATURES_PACKAGES: list.default([])
      .describe('npm packages with features, comma-separated. The server resolves these packages from its working directory.'),
    FEATURES_CONFIG: featureConfig.default({})
      .describe('Feature settings as JSON, keyed by feature name: {"chat":{"history":100}}. GET /admin/features lists the available settings.'),
    FEATURES_WATCH: flag.default(false)
      .describe('Reloads a feature when its files change. Default in development: true.'),
    FEATURES_DRAIN_SECONDS: whole(0, 600).default(10)
      .describe('After a feature is reloaded or disabled, its in-flight requests have this many seconds to finish; then they fail with UNAVAILABLE.'),
    FEATURES_DEADLINE_SECONDS: whole(1, 3600).default(10)
      .describe("Time limit for a feature's requests, hooks and jobs, in seconds. After this time, a request fails with UNAVAILABLE and a job is retried. This limit must not be less than the timeouts that features set for their own requests, such as LARAVEL_API_TIMEOUT_MS.")
  }
} as const

const shape = Object.assign({}, ...Object.values(sections)) as
  typeof sections.Server & typeof sections.Administration & typeof sections.Limits &
  typeof sections.Redis & typeof sections.Blobs & typeof sections.Media & typeof sections.Features

export const schema = z.object(shape)

/** Environment variables that are required only under a condition. */
export const requirements: readonly Requirement[] = [
  {
    name: 'MEDIASOUP_ANNOUNCED_IP',
    when: ({ NODE_ENV, MEDIASOUP_LISTEN_IP: ip }) => NODE_ENV === 'production' || ip === '0.0.0.0' || ip === '::',
    reason: 'in production, and if MEDIASOUP_LISTEN_IP is 0.0.0.0 or ::, because clients send audio to this address'
  },
  {
    name: 'REDIS_HOST',
    when: (given) => given.REDIS_URL === undefined && given.REDIS_SENTINELS === undefined && given.REDIS_CLUSTER_NODES === undefined && ['REDIS_PORT', 'REDIS_USERNAME', 'REDIS_PASSWORD', 'REDIS_TLS'].some((name) => given[name] !== undefined),
    reason: 'with REDIS_PORT, REDIS_PASSWORD, REDIS_USERNAME or REDIS_TLS, unless REDIS_URL, REDIS_SENTINELS or REDIS_CLUSTER_NODES is set'
  },
  { name: 'BLOBS_S3_ACCESS_KEY_ID', when: (given) => given.BLOBS_S3_URL !== undefined, reason: 'with BLOBS_S3_URL' },
  { name: 'BLOBS_S3_SECRET_ACCESS_KEY', when: (given) => given.BLOBS_S3_URL !== undefined, reason: 'with BLOBS_S3_URL' },
  { name: 'SSL_CERT_PATH', when: (given) => given.SSL_KEY_PATH !== undefined, reason: 'with SSL_KEY_PATH' },
  { name: 'SSL_KEY_PATH', when: (given) => given.SSL_CERT_PATH !== undefined, reason: 'with SSL_CERT_PATH' }
]

/** Environment variables whose values must never be shown. */
export const secrets: readonly string[] = ['ADMIN_API_KEY', 'METRICS_TOKEN', 'REDIS_URL', 'REDIS_PASSWORD', 'REDIS_SENTINEL_PASSWORD', 'BLOBS_S3_ACCESS_KEY_ID', 'BLOBS_S3_SECRET_ACCESS_KEY', 'FEATURES_CONFIG']

export type Environment = z.output<typeof schema>
