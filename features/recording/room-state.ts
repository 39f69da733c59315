import { userId, z } from 'flylive-audio-server/feature'
import type { RoomStateHandle } from 'flylive-audio-server/feature'
import { reason } from './messages.ts'
import type { EndReason, events } from './messages.ts'

/** The stored state of a room that is or was recorded. */
export const recordingState = z.object({
  /** Absent while the room is not being recorded. */
  current: z.object({ recordingId: z.string(), by: userId }).optional(),
  /** The last recording that was not stopped by a host. Members who missed its end receive the reason later. */
  ended: z.object({ recordingId: z.string(), reason }).optional()
})
export type State = z.output<typeof recordingState>
export type RecordingStateHandle = RoomStateHandle<State>

/** @returns the state of a room that is not being recorded */
export const idleState = (ended: State['ended']): State => ended ? { ended } : {}

export const startedEvent = (recordingId: string, by: string | number) => ({ type: 'recording:started', data: { recordingId, by } satisfies Omit<z.input<(typeof events)['recording:started']>, 'roomId'> })
export const stoppedEvent = (recordingId: string, reason?: EndReason) => ({
  type: 'recording:stopped',
  data: { recordingId, ...(reason === undefined ? {} : { reason }) } satisfies Omit<z.input<(typeof events)['recording:stopped']>, 'roomId'>
})
