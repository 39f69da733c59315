import { fromEnv, read, z } from 'flylive-audio-server/feature'

/** Settings that admins can change at run time. */
export const config = z.object({
  ledgerSize: fromEnv('GIFT_LEDGER_SIZE', z.int().min(1000).max(100_000_000).default(1_000_000)
    .describe('Maximum number of gifts in the ledger, which records gifts if no backend is configured. Above this number, the server deletes the oldest gifts.'), read.number)
})
