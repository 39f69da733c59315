import { fromEnv, read, z } from 'flylive-audio-server/feature'

/** Settings that admins can change at run time. */
export const config = z.object({
  ledgerSize: fromEnv('GIFT_LEDGER_SIZE', z.int().min(1000).max(100_000_000).default(1_000_000)
    .describe('If no backend is configured, the server records gifts in a ledger. This is the maximum number of gifts in the ledger; when it is exceeded, the server deletes the oldest gifts.'), read.number)
})
