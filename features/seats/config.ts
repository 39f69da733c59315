import { fromEnv, read, z } from 'flylive-audio-server/feature'

/** Settings that an admin can change at run time. */
export const config = z.object({
  graceSeconds: fromEnv('SEAT_GRACE_SECONDS', z.int().min(0).max(3600).default(15)
    .describe('How long a seat is kept after its user loses the connection, in seconds.'), read.number)
})
