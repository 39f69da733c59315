import type { FeatureInstance } from 'flylive-audio-server/feature'
import type { Gift } from './outbox.ts'

/** A gift for the backend to charge. */
export type GiftTransaction = Gift

/** A gift that the backend rejects permanently. */
export interface GiftFailure {
  transactionId: string
  /** The backend's error code; 4002 means that the sender's balance is too low. */
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
  /** Timeout of a call to the backend, in milliseconds. */
  readonly timeoutMs: number
  /**
   * Sends gifts to the backend, which charges each transactionId once.
   *
   * @returns the gifts that the backend rejects permanently; all other gifts are charged
   * @throws UNAVAILABLE if the request did not reach the backend. After any other error, the backend may have charged
   *   for the gifts. After any error, the caller must send all gifts again
   */
  processGifts (transactions: readonly GiftTransaction[]): Promise<{ failed: readonly GiftFailure[] }>
}

/**
 * Finds the current processor.
 *
 * @returns the backend's processor; `'ledger'` if no backend is configured; undefined if a backend is configured but
 *   laravel-bridge is not loaded. While the result is undefined, gifts stay queued
 */
export function processorOf (app: Pick<FeatureInstance, 'config' | 'features'>): GiftProcessor | 'ledger' | undefined {
  const bridge = app.features.getFeature('laravel-bridge')
  if (bridge) return bridge
  // A backend is configured if LARAVEL_API_URL is set, or if an admin has turned laravel-bridge on.
  return app.config.featureDefaults['laravel-bridge'] === true || app.features.isEnabled('laravel-bridge') ? undefined : 'ledger'
}
