import { isCoded, userKeyOf } from 'flylive-audio-server/feature'
import type { FeatureInstance, UserId } from 'flylive-audio-server/feature'
import type { EndReason } from './messages.ts'
import type { RecordingRecord } from './records.ts'

/** An ended recording that a different server continues as a new recording. */
export interface Predecessor {
  recordingId: string
  roomId: string
  startedBy: UserId
  tracks: boolean
  /** Why the recording has ended. */
  reason: EndReason
}

declare module 'flylive-audio-server/feature' {
  interface ClusterRequests {
    /**
     * Continues a recording as a new recording on the server that receives the request. The reply is true if that
     * server now records the room; false if it cannot, for example because it has no members of the room.
     */
    'recording:continue': { data: Predecessor, reply: boolean }
  }
}

const timeoutMs = 5000
/** Maximum number of members whose servers are considered. */
const maxMembers = 200

/**
 * @param continueHere continues a recording on this server; see `recording:continue`
 * @returns a function that asks the servers with members of the room, one after another, to continue a recording. The
 *   function returns whether one of the servers continues the recording
 */
export function createContinuation ({ cluster, directory, log, nodeId, store }: FeatureInstance, continueHere: (predecessor: Predecessor) => Promise<boolean>) {
  cluster.answer('recording:continue', continueHere)

  /**
   * @returns the servers with members of a room, sorted by the number of members who send or receive audio, highest
   *   first
   */
  async function serversOf (roomId: string): Promise<string[]> {
    const members = await store.getParticipants(roomId, maxMembers)
    const sessions = (await Promise.all(members.map(async ({ userId }) => await directory.sessionsOf(userKeyOf(userId))))).flat()
    const weights = new Map<string, number>()
    for (const { nodeId, roomId: current, hasAudio } of sessions) {
      if (current === roomId) weights.set(nodeId, (weights.get(nodeId) ?? 0) + (hasAudio === true ? maxMembers : 1))
    }
    return [...weights].sort(([, one], [, other]) => other - one).map(([server]) => server)
  }

  /** @throws UNAVAILABLE */
  return async ({ recordingId, roomId, startedBy, tracks }: RecordingRecord, reason: EndReason): Promise<boolean> => {
    for (const server of await serversOf(roomId)) {
      const predecessor = { recordingId, roomId, startedBy, tracks, reason }
      try {
        if (server === nodeId ? await continueHere(predecessor) : await cluster.ask(server, 'recording:continue', predecessor, timeoutMs)) return true
      } catch (err) {
        log[isCoded(err) ? 'debug' : 'error']({ err, recordingId, server }, 'a server did not continue a recording')
      }
    }
    return false
  }
}
