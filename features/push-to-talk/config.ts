import { fromEnv, read, secret, z } from 'flylive-audio-server/feature'

/** Settings that admins can change at run time. */
export const config = z.object({
  path: fromEnv('PTT_PATH', z.string().regex(/^\/[\w.~/-]+$/, 'must be a path like /ptt').default('/ptt')
    .describe('Path of the WebSocket for radios.')),
  secret: fromEnv('PTT_JWT_SECRET', secret(z.string().min(32, 'must have at least 32 characters').optional()
    .describe("Secret for verifying radios' tokens (HS256). Default: JWT_SECRET."))),
  selfJoin: fromEnv('PTT_SELF_JOIN', z.boolean().default(false)
    .describe('Allows radios to join and leave channels (USER_ADD, USER_REMOVE).'), read.flag),
  record: fromEnv('PTT_RECORD', z.boolean().default(false)
    .describe("Stores the audio of each transmission (talk) as an Ogg Opus file, which is named after the talk's message id."), read.flag),
  recordDays: fromEnv('PTT_RECORD_DAYS', z.int().min(1).max(3650).default(30)
    .describe('How long recorded talks are stored, in days.'), read.number),
  messagesPerMinute: fromEnv('PTT_MESSAGES_PER_MINUTE', z.int().min(1).max(100_000).default(120)
    .describe('Maximum number of text, image and interactive messages per radio user per minute, counted separately on each server. The server drops further messages and does not acknowledge them.'), read.number),
  offlineMessages: fromEnv('PTT_OFFLINE_MESSAGES', z.int().min(1).max(1000).default(100)
    .describe('Maximum number of messages that the server stores for offline users, per user and per channel.'), read.number),
  offlineSeconds: fromEnv('PTT_OFFLINE_SECONDS', z.int().min(1).max(31_536_000).default(604_800)
    .describe('Messages for offline users expire after this many seconds.'), read.number)
})

export type Settings = z.output<typeof config>
