import { fromEnv, read, z } from 'flylive-audio-server/feature'

/** Settings that admins can change at run time. */
export const config = z.object({
  fromListeners: fromEnv('BROADCAST_FROM_LISTENERS', z.int().min(0).max(1_000_000).default(0)
    .describe('Puts a room on air when it has at least this many members without a seat. With 0, rooms go on air only on request. The broadcast continues until the owner or an admin stops it or the room closes.'), read.number),
  encrypt: fromEnv('BROADCAST_ENCRYPT', z.boolean().default(false)
    .describe('Encrypts all broadcasts with AES-128. When this setting is off, a broadcast is encrypted only if a client set a PIN for the room before the broadcast started.'), read.flag),
  lowLatency: fromEnv('BROADCAST_LOW_LATENCY', z.boolean().default(true)
    .describe('Turns on low-latency HLS, which divides the segments of about 2 s into parts of 256 ms (AAC), or of 240 ms or 260 ms (Opus).'), read.flag),
  opus: fromEnv('BROADCAST_OPUS', z.boolean().default(true)
    .describe('Offers Opus as a second rendition.'), read.flag),
  url: fromEnv('BROADCAST_URL', z.url({ protocol: /^https?$/ }).transform((url) => url.replace(/\/+$/, '')).optional()
    .describe('Public URL for players, for example the URL of a CDN in front of `/hls`. `hlsUrl` begins with this URL. Default: `hlsUrl` is a path on this server.')),
  tokenMinutes: fromEnv('BROADCAST_TOKEN_MINUTES', z.int().min(1).max(10_080).default(360)
    .describe('Lifetime of a token for the key of an encrypted broadcast, in minutes.'), read.number),
  maxRoomsPerUser: fromEnv('BROADCAST_MAX_ROOMS_PER_USER', z.int().min(1).max(100_000).default(20)
    .describe('Maximum number of rooms created over REST that a user can have at the same time.'), read.number),
  idleMinutes: fromEnv('BROADCAST_IDLE_MINUTES', z.number().min(0.01).max(10_080).default(10)
    .describe('The server removes a room that was created over REST if the room is not started within this many minutes.'), read.number),
  maxHours: fromEnv('BROADCAST_MAX_HOURS', z.number().min(0.0001).max(720).default(3)
    .describe('The server removes a room that was created over REST this many hours after the room was started.'), read.number),
  singleConnection: fromEnv('BROADCAST_SINGLE_CONNECTION', z.boolean().default(false)
    .describe('Allows only one connection per user to send audio, across all servers. If another connection of the user tries to send audio, it receives `ALREADY_LIVE`. If a server dies, the locks of its connections expire after 3 s.'), read.flag),
  commandsPerMinute: fromEnv('BROADCAST_COMMANDS_PER_MINUTE', z.int().min(1).max(1_000_000).default(60)
    .describe('Maximum number of broadcast starts and stops per user per minute.'), read.number)
})
