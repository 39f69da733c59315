import type { FeatureInstance } from 'flylive-audio-server/feature'
import type { Gift } from './outbox.ts'

/** A gift as the backend is to book it. */
export type GiftTransaction = Gift

/** A gift that the backend refuses for good. */
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

/** Who turns gifts into money: the backend, by way of the feature laravel-bridge. */
export interface GiftProcessor {
  /**
   * Has the backend carry out gifts. It knows each by its transactionId and
   * books it once, however often it is sent.
   *
   * @returns those that the backend refuses for good; all others are booked
   * @throws UNAVAILABLE when the backend was not asked at all; any other error
   *   leaves open whether the gifts were booked. In both cases all are to be sent again
   */
  processGifts (transactions: readonly GiftTransaction[]): Promise<{ failed: readonly GiftFailure[] }>
}

/**
 * Who takes the gifts now. While a backend is configured but the feature that
 * speaks to it is not there (it is being replaced, or has failed to load), gifts wait.
 *
 * @returns undefined when nobody can be asked now; `'ledger'` when there is no backend at all
 */
export function processorOf (app: Pick<FeatureInstance, 'config' | 'features'>): GiftProcessor | 'ledger' | undefined {
  const bridge = app.features.getFeature('laravel-bridge')
  if (bridge) return bridge
  return app.config.LARAVEL_API_URL === undefined ? 'ledger' : undefined
}
