import type { types } from 'mediasoup'
import { z } from 'zod'
import type { UserId } from '../../connections/session.ts'

/** The schema of the `media` room state: a room's voices on all servers, keyed by producer id. */
export const registry = z.object({
  voices: z.record(z.string(), z.object({
    /** Id of the server that has the voice's producer. */
    node: z.string(),
    userId: z.union([z.string(), z.number()]),
    userKey: z.string(),
    source: z.enum(['voice', 'music']),
    paused: z.boolean()
  }))
})

export type Registry = z.infer<typeof registry>
export type RegisteredVoice = Registry['voices'][string]

/**
 * Identifies a pipe. The receiving server (`from`) assigns the epochs. A pipe with a higher epoch replaces an older
 * pipe for the same room.
 */
export interface PipeId {
  roomId: string
  /** The id of the server that receives the audio. */
  from: string
  epoch: number
}

/** The address and the encryption parameters of one end of a pipe. */
export interface PipeEnd {
  ip: string
  port: number
  srtpParameters: types.SrtpParameters | undefined
}

/** A voice that the source sends through a pipe. */
export interface PipedVoice {
  producerId: string
  rtpParameters: types.RtpParameters
}

declare module '../../cluster/messages.ts' {
  interface ClusterRequests {
    /**
     * Asks the source to open a pipe for a room to the requesting server. The pipe replaces any earlier pipe for that
     * room.
     */
    'relay:want': { data: PipeId & PipeEnd & { voices: string[] }, reply: PipeEnd & { voices: PipedVoice[] } }
    /** Adds voices to a pipe. The reply is null if there is no such pipe. */
    'relay:more': { data: PipeId & { voices: string[] }, reply: { voices: PipedVoice[] } | null }
    /** Closes a pipe. */
    'relay:drop': { data: PipeId, reply: null }
    /** Asks the source how many packets it has received for each of the given voices. */
    'relay:counts': { data: { roomId: string, voices: string[] }, reply: Record<string, number> }
    /** Asks a server for the active speakers that a room has on that server, and for their loudness. */
    'relay:speakers': { data: { roomId: string }, reply: { activeSpeakers: UserId[], levels: number[] } }
    /** Asks the sink which of the given pipes it still uses. The reply has one value per pipe. */
    'relay:holds': { data: { to: string, pipes: { roomId: string, epoch: number }[] }, reply: boolean[] }
  }
}
