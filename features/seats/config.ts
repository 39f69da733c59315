import { fromEnv, read, z } from 'flylive-audio-server/feature'

/** Settings that admins can change at run time. */
export const config = z.object({
  graceSeconds: fromEnv('SEAT_GRACE_SECONDS', z.int().min(0).max(3600).default(15)
    .describe("After an occupant's connection breaks, the seat stays reserved for this many seconds."), read.number),
  commandsPerMinute: fromEnv('SEAT_COMMANDS_PER_MINUTE', z.int().min(1).max(1_000_000).default(30)
    .describe('Maximum number of these seat commands per user per minute: take, leave, request, invite:accept, invite:decline.'), read.number),
  adminCommandsPerMinute: fromEnv('SEAT_ADMIN_COMMANDS_PER_MINUTE', z.int().min(1).max(1_000_000).default(240)
    .describe('Maximum number of these seat commands per user per minute: assign, invite, remove, mute, unmute, lock, unlock, request:cancel.'), read.number)
})
