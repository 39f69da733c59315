import { cursor, keyBehind, nextCursor, pageOf, z } from 'flylive-audio-server/feature'
import type { FeatureInstance } from 'flylive-audio-server/feature'
import { DeadLetterNotFound } from './errors.ts'
import { webhook } from './events.ts'
import type { DeadLetter, WebhookStorage } from './queue.ts'

const id = z.string().max(300)
const queue = z.object({
  queue: z.string(),
  url: z.string().describe('Without the query'),
  isConfigured: z.boolean().describe('Whether WEBHOOK_URLS contains the address'),
  pending: z.int(),
  oldestAgeSeconds: z.number().nullable().describe('null if the queue is empty'),
  lastError: z.object({ at: z.int(), reason: z.string() }).nullable()
})
const deadLetter = z.object({ id, queue: z.string(), roomId: z.string(), tries: z.int(), reason: z.string(), deadAt: z.int(), webhook })
const querystring = z.object({ cursor, limit: z.coerce.number().int().min(1).max(200).default(50) })
const selection = z.object({ ids: z.array(id).max(10_000).optional().describe('Default: all') }).nullish()

/** Maximum number of dead letters that one call to the storage retries or deletes. */
const batch = 500

export interface AdminOptions {
  storage: WebhookStorage
  /** Ids of the configured queues. */
  configured: ReadonlySet<string>
  /** Called after dead letters have been moved back to their queues. */
  onRetried: () => void
}

/** Adds the routes under /admin/webhooks to list queues and dead letters, and to retry or delete dead letters. */
export function adminRoutes (app: FeatureInstance, { storage, configured, onRetried }: AdminOptions): void {
  const show = ({ body, ...letter }: DeadLetter) => ({ ...letter, webhook: JSON.parse(body) as z.output<typeof webhook> })

  /**
   * Calls `step` with batches of ids: the given ids or, by default, the ids of all current dead letters.
   *
   * @returns the sum of the numbers that `step` returns
   */
  async function forEach (ids: readonly string[] | undefined, step: (ids: readonly string[]) => Promise<number>): Promise<number> {
    const end = ids ? undefined : (await storage.countDeadLetters())
    let count = 0
    for (let after = '', seen = 0; ;) {
      const page = ids ? ids.slice(seen, seen + batch) : (await storage.listDeadLetters(after, batch)).map((letter) => letter.id)
      if (page.length === 0 || (end !== undefined && seen >= end)) return count
      count += await step(page)
      seen += page.length
      after = page.at(-1) as string
    }
  }

  app.get('/admin/webhooks', {
    schema: { summary: 'Lists the webhook queues, and returns the number of dead letters', response: { 200: z.object({ queues: z.array(queue), deadLetters: z.int() }) } }
  }, async () => {
    const [queues, deadLetters] = await Promise.all([storage.queues(), storage.countDeadLetters()])
    const now = app.clock.now()
    return {
      queues: queues.map(({ queue, shownUrl, pending, oldestAt, lastError }) => ({
        queue,
        url: shownUrl,
        isConfigured: configured.has(queue),
        pending,
        oldestAgeSeconds: oldestAt === undefined ? null : Math.max(0, now - oldestAt) / 1000,
        lastError: lastError ?? null
      })),
      deadLetters
    }
  })

  app.get('/admin/webhooks/dead-letters', {
    schema: { summary: 'Lists the webhooks that were not delivered', querystring, response: { 200: z.object({ deadLetters: z.array(deadLetter), nextCursor, total: z.int() }) } }
  }, async ({ query: { cursor, limit } }) => {
    const [found, total] = await Promise.all([storage.listDeadLetters(keyBehind(cursor), limit + 1), storage.countDeadLetters()])
    const { shown, ...rest } = pageOf(found, limit, ({ id }) => id)
    return { deadLetters: shown.map(show), ...rest, total }
  })

  app.post('/admin/webhooks/dead-letters/retry', {
    schema: { summary: 'Sends dead letters again', body: selection, response: { 200: z.object({ retried: z.int() }) } }
  }, async (request) => {
    const { ids } = request.body ?? {}
    const retried = await forEach(ids, storage.retryDeadLetters)
    onRetried()
    app.admin.audit(request, 'webhooks.retry', { ids: ids ?? 'all', retried, before: null, after: null })
    return { retried }
  })

  app.post('/admin/webhooks/dead-letters/delete', {
    schema: { summary: 'Deletes dead letters', body: selection, response: { 200: z.object({ deleted: z.int() }) } }
  }, async (request) => {
    const { ids } = request.body ?? {}
    const deleted = await forEach(ids, storage.deleteDeadLetters)
    app.admin.audit(request, 'webhooks.delete', { ids: ids ?? 'all', deleted, before: null, after: null })
    return { deleted }
  })

  app.delete('/admin/webhooks/dead-letters/:id', {
    schema: { summary: 'Deletes a dead letter', params: z.object({ id }), response: { 204: z.null() } }
  }, async (request, reply) => {
    const { id } = request.params
    if (await storage.deleteDeadLetters([id]) === 0) throw new DeadLetterNotFound(id)
    app.admin.audit(request, 'webhooks.delete', { ids: [id], deleted: 1, before: null, after: null })
    return await reply.code(204).send(null)
  })

  app.delete('/admin/webhooks/queues/:queue', {
    schema: { summary: 'Deletes the queue of an address and all webhooks in it. If the address is configured, an empty queue remains', params: z.object({ queue: id }), response: { 200: z.object({ deleted: z.int() }) } }
  }, async (request) => {
    const { queue } = request.params
    const known = (await storage.queues()).find((one) => one.queue === queue)
    const deleted = await storage.deleteQueue(queue)
    if (known && configured.has(queue)) await storage.register([{ id: queue, shownUrl: known.shownUrl }])
    app.admin.audit(request, 'webhooks.deleteQueue', { queue, deleted, before: known?.pending ?? 0, after: 0 })
    return { deleted }
  })
}
