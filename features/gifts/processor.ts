import type { FeatureInstance } from 'flylive-audio-server/feature'
import type { Gift } from './outbox.ts'

/** A gift for the backend to charge. */
export type GiftTransaction = Gift

/** A gift that the backend rejects permanently. */
export interface GiftFailure {
  transactionId: string
  /** 4002: the sender's balance is too low. */
  code: number
  reason: string
}

declare module 'flylive-audio-server/feature' {
  interface FeatureSlots {
    'laravel-bridge': GiftProcessor
  }
}

/** Processes gifts. The laravel-bridge feature implements this interface by calling the backend. */
export interface GiftProcessor {
  /** Timeout of a call, in milliseconds. */
  readonly timeoutMs: number
  /**
   * Sends gifts to the backend, which charges each transactionId once.
   *
   * @returns the gifts that the backend rejects permanently; all other gifts are charged
   * @throws UNAVAILABLE if the request did not reach the backend. After any other error the backend may or
   * may not have charged the gifts. In both cases the caller must send all gifts again
   */
  processGifts (transactions: readonly GiftTransaction[]): Promise<{ failed: readonly GiftFailure[] }>
}

/**
 * Finds the current processor.
 *
 * @returns undefined if a backend is configured but laravel-bridge is not loaded (gifts stay queued); `'ledger'` if no
 *   backend is configured
 */
export function processorOf (app: Pick<FeatureInstance, 'config' | 'features'>): GiftProcessor | 'ledger' | undefined {
  const bridge = app.features.getFeature('laravel-bridge')
  if (bridge) return bridge
  return app.config.featureDefaults['laravel-bridge'] ? undefined : 'ledger'
}
