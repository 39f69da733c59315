import { z } from 'flylive-audio-server/feature'
import type { RoomStateHandle } from 'flylive-audio-server/feature'

/** Maximum interval of slow mode, in seconds. */
export const maxSlowModeSeconds = 3600

/** A room's slow mode. It survives a restart. */
export const chatState = z.object({
  /**
   * Minimum time between two messages from the same member, in milliseconds; 0 if slow mode is off. The store reads
   * this field.
   */
  intervalMs: z.int()
})

export type ChatStateHandle = RoomStateHandle<z.output<typeof chatState>>

export const stateName = 'chat'
export const intervalField = 'intervalMs' satisfies keyof z.output<typeof chatState>
