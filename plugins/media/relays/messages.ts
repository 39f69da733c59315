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
 * Identifies a pipe. The receiving server (`from`) numbers its pipes. A newer pipe replaces an older pipe for the same
 * room.
 */
export interface PipeId {
  roomId: string
  /** The id of the server that receives the audio. */
  from: string
  epoch: number
}

/** The address and encryption parameters of one end of a pipe. */
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
    /** Opens a pipe to the requesting server for a room, replacing any earlier pipe for that room. */
    'relay:want': { data: PipeId & PipeEnd & { voices: string[] }, reply: PipeEnd & { voices: PipedVoice[] } }
    /** Adds voices to a pipe. The reply is null if the pipe does not exist. */
    'relay:more': { data: PipeId & { voices: string[] }, reply: { voices: PipedVoice[] } | null }
    /** Closes a pipe. */
    'relay:drop': { data: PipeId, reply: null }
    /** Returns how many packets the source has received for each of the given voices. */
    'relay:counts': { data: { roomId: string, voices: string[] }, reply: Record<string, number> }
    /** Returns a room's active speakers on the called server, and their loudness. */
    'relay:speakers': { data: { roomId: string }, reply: { activeSpeakers: UserId[], levels: number[] } }
    /** Returns, for each pipe, whether the sink still uses it. */
    'relay:holds': { data: { to: string, pipes: { roomId: string, epoch: number }[] }, reply: boolean[] }
  }
}
