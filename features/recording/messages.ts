import { roomId, userId, z } from 'flylive-audio-server/feature'
import type { EventMap, RequestMap } from 'flylive-audio-server/feature'

const recordingId = z.string()

/** Why a recording ended, if no host stopped it. */
export const reason = z.enum(['disk_full', 'failed', 'max_duration', 'moved', 'room_closed', 'server_stopped', 'server_lost'])
  .describe('Why the recording ended; absent if a host stopped it. `disk_full`: the disk has no space; `failed`: the server could not write a file, or the recorder failed; `max_duration`: the recording reached RECORDING_MAX_HOURS; `moved`: the recording server no longer has members in the room, and another server continues with a new recording; `room_closed`: the last member left the room; `server_stopped`: the server or the feature was stopped; `server_lost`: the server died, and the recording contains what was stored until then')
export type EndReason = z.output<typeof reason>

export const requests = {
  'recording:start': {
    request: z.object({ tracks: z.boolean().default(false).describe('Whether each voice is also recorded in a separate file') })
      .describe("Starts recording the room's audio. Has no effect if the room is already being recorded. Owner and admins only"),
    reply: z.object({ recordingId })
  },
  'recording:stop': {
    request: z.object({}).describe('Ends the recording. Owner and admins only'),
    reply: z.object({ recordingId })
  }
} satisfies RequestMap

export const events = {
  'recording:started': z.object({ roomId, recordingId, by: userId }).describe('Sent to all members before the recording starts. Clients must show their users that the room is being recorded'),
  'recording:stopped': z.object({ roomId, recordingId, reason: reason.optional() }).describe('Sent to all members when the recording ends')
} satisfies EventMap

/** The fields that the `recording` feature adds to the reply to room:join. */
export const joinReply = z.object({ recording: z.object({ recordingId }).nullable().describe('null if the room is not being recorded') })
