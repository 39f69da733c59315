import { fromEnv, read, z } from 'flylive-audio-server/feature'

/** Settings that admins can change at run time. */
export const config = z.object({
  fromListeners: fromEnv('MIX_FROM_LISTENERS', z.int().min(0).max(100_000).default(30)
    .describe('The server recommends the mix in rooms with at least this many people without a seat. If this value is 0, the server always recommends the mix. The server withdraws the recommendation when the number of people without a seat falls below 80 % of this value.'), read.number)
})
