import { cursor, keyBehind, nextCursor, pageOf, roomId, userId, z } from 'flylive-audio-server/feature'
import type { FeatureInstance } from 'flylive-audio-server/feature'
import { giftId, quantity, transactionId } from './messages.ts'
import type { RecordKind, Records } from './outbox.ts'
import type { Gifts } from './service.ts'

const gift = z.object({ transactionId, roomId, senderId: userId, recipientId: userId, giftId, quantity, timestamp: z.int() })
const deadLetter = gift.extend({ tries: z.int(), reason: z.string(), deadAt: z.int() })
const failed = gift.extend({ code: z.number(), reason: z.string(), failedAt: z.int() })
const recorded = gift.extend({ recordedAt: z.int() })

const querystring = z.object({
  cursor,
  limit: z.coerce.number().int().min(1).max(200).default(50)
})
const rest = { nextCursor, total: z.int() }

/** Adds the routes under /admin/gifts. They count gifts, list gifts, and send dead letters to the backend again. */
export function adminRoutes (app: FeatureInstance, gifts: Gifts): void {
  async function page<K extends RecordKind> (kind: K, { cursor, limit }: z.output<typeof querystring>) {
    const [found, counts] = await Promise.all([gifts.list(kind, keyBehind(cursor), limit + 1), gifts.counts()])
    return { ...pageOf<Records[K]>(found, limit, ({ transactionId }) => transactionId), total: counts[kind] }
  }

  app.get('/admin/gifts', {
    schema: { summary: 'Number of gifts by status', response: { 200: z.object({ queued: z.int(), deadLetters: z.int(), failed: z.int(), ledger: z.int() }) } }
  }, () => gifts.counts())

  app.get('/admin/gifts/dead-letters', {
    schema: { summary: 'Gifts that failed after all retries', querystring, response: { 200: z.object({ deadLetters: z.array(deadLetter), ...rest }) } }
  }, async ({ query }) => {
    const { shown, ...rest } = await page('deadLetters', query)
    return { deadLetters: shown, ...rest }
  })

  app.get('/admin/gifts/failed', {
    schema: { summary: 'Gifts that the backend rejected', querystring, response: { 200: z.object({ failed: z.array(failed), ...rest }) } }
  }, async ({ query }) => {
    const { shown, ...rest } = await page('failed', query)
    return { failed: shown, ...rest }
  })

  app.get('/admin/gifts/ledger', {
    schema: { summary: 'Gifts recorded in the ledger because no backend is configured', querystring, response: { 200: z.object({ ledger: z.array(recorded), ...rest }) } }
  }, async ({ query }) => {
    const { shown, ...rest } = await page('ledger', query)
    return { ledger: shown, ...rest }
  })

  app.post('/admin/gifts/dead-letters/replay', {
    schema: {
      summary: 'Retries dead letters',
      body: z.object({ transactionIds: z.array(transactionId).max(10_000).optional().describe('Default: all') }).nullish(),
      response: { 200: z.object({ replayed: z.int() }) }
    }
  }, async (request) => {
    const { transactionIds } = request.body ?? {}
    const before = await gifts.counts()
    const replayed = await gifts.replay(transactionIds)
    app.admin.audit(request, 'gifts.replay', { transactionIds: transactionIds ?? 'all', replayed, before, after: await gifts.counts() })
    return { replayed }
  })
}
