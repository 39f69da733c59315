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
     * Asks a server to continue another server's recording as a new recording. The reply is true if that server now
     * records the room, and false if that server cannot record the room, for example because it has no members of the
     * room.
     */
    'recording:continue': { data: Predecessor, reply: boolean }
  }
}

const timeoutMs = 5000
/** Maximum number of the room's members whose servers are asked. */
const maxMembers = 200

/**
 * @param continueHere continues a recording on this server; see `recording:continue`
 * @returns a function that asks the servers with members of the room, one after another, to continue a recording. The
 *   function returns true if one of the servers continues the recording
 */
export function createContinuation ({ cluster, directory, log, nodeId, store }: FeatureInstance, continueHere: (predecessor: Predecessor) => Promise<boolean>) {
  cluster.answer('recording:continue', continueHere)

  /**
   * @returns the servers that have members of a room. Servers with the most members who send or receive audio come
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
