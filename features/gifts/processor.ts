import type { FastifyInstance } from 'fastify'
import type { Gift } from './outbox.ts'

/** Who turns gifts into money: the backend, by way of the feature laravel-bridge. */
export interface GiftProcessor {
  /**
   * Hands a batch to the backend, which knows each gift by its transactionId
   * and books it once, however often it is sent.
   *
   * @returns the gifts that were refused for good; all others are booked
   * @throws an error with the code UNAVAILABLE when the backend was not asked at
   *   all; any other one leaves open whether the gifts were booked
   */
  processGifts (transactions: readonly Gift[]): Promise<{ failed: readonly { transactionId: string, code: number, reason: string }[] }>
}

/**
 * Who takes the gifts now. While a backend is configured but the feature that
 * speaks to it is not there (it is being replaced, or has failed to load), gifts wait.
 *
 * @returns undefined when nobody can be asked now; `'ledger'` when there is no backend at all
 */
export function processorOf (app: FastifyInstance): GiftProcessor | 'ledger' | undefined {
  const bridge = app.features.slot<Partial<GiftProcessor>>('laravel-bridge')
  if (typeof bridge?.processGifts === 'function') return bridge as GiftProcessor
  return app.config.LARAVEL_API_URL === undefined ? 'ledger' : undefined
}
