import { roomId, z } from 'flylive-audio-server/feature'
import type { EventMap, RequestMap } from 'flylive-audio-server/feature'

const hlsUrl = z.string().describe('URL of the HLS master playlist. If BROADCAST_URL is not set, this is a path on this server')

export const requests = {
  'broadcast:start': {
    request: z.object({}).describe('Puts the room on air for anyone with the URL. If the room has a PIN, listeners also need the PIN. Has no effect if the room is already on air. Owner and admins only'),
    reply: z.object({ hlsUrl })
  },
  'broadcast:stop': {
    request: z.object({}).describe('Ends the broadcast. Owner and admins only'),
    reply: z.object({ hlsUrl })
  }
} satisfies RequestMap

export const events = {
  'broadcast:started': z.object({ roomId, hlsUrl }).describe('Sent to all members when the room goes on air. Clients must inform all seated users that the room is on air'),
  'broadcast:stopped': z.object({ roomId }).describe('Sent to all members when the broadcast ends')
} satisfies EventMap

/** The fields that this feature adds to the join reply. */
export const joinReply = z.object({ broadcast: z.object({ hlsUrl }).nullable().describe('null if the room is not on air') })
