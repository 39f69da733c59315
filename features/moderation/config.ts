import { fromEnv, read, z } from 'flylive-audio-server/feature'

/** Settings that admins can change at run time. */
export const config = z.object({
  commandsPerMinute: fromEnv('MODERATION_COMMANDS_PER_MINUTE', z.int().min(1).max(1_000_000).default(120)
    .describe('Maximum number of moderation commands per user per minute, counted across all servers.'), read.number),
  maxBans: fromEnv('MODERATION_MAX_BANS', z.int().min(1).max(100_000).default(1000)
    .describe('Maximum number of bans per room. Once a room has this many bans, its owner and admins cannot ban more users.'), read.number)
})
