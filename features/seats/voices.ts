import type { FastifyInstance } from 'fastify'
import type { Session } from '../../plugins/connections/session.ts'
import type { ProducePermit } from '../../plugins/media/room-media.ts'
import { NotSeated } from './errors.ts'
import type { Seats } from './service.ts'
import { isMuted, seatOf } from './state.ts'
import type { SeatState } from './state.ts'

/** What seats mean for who is heard (protocol.md, media rules). */
export interface Voices {
  /**
   * On what terms a member may send audio.
   *
   * @throws NOT_SEATED
   */
  permit (roomId: string, session: Session): Promise<ProducePermit>
  /** Makes what is heard in a room on this server follow its seats. */
  enforce (roomId: string, state: SeatState | undefined): void
  /** Takes over a room in which everybody could be heard: who has a seat goes on. */
  adopt (roomId: string, state: SeatState | undefined): void
  /** Takes back what seats meant for a room on this server: who was silenced by them is heard. */
  release (roomId: string): void
}

export function createVoices ({ log, sfu }: FastifyInstance, seats: Seats): Voices {
  function follow (change: Promise<void>, roomId: string, producerId: string): void {
    change.catch((err: unknown) => log.debug({ err, roomId, producerId }, 'a producer went while it was muted'))
  }

  function enforce (roomId: string, state: SeatState | undefined): void {
    for (const { session, producerId, grant } of sfu.producerHandles(roomId)) {
      const seat = seatOf(state, session.userKey)
      // Whoever has moved has left the seat this was allowed for.
      if (!state || !seat || String(seat.sitting) !== grant) {
        sfu.closeProducer(session, producerId)
        continue
      }
      follow(isMuted(state, seat.userId) ? sfu.pauseProducer(session, 'server', producerId) : sfu.resumeProducer(session, 'server', producerId), roomId, producerId)
    }
  }

  return {
    async permit (roomId, session) {
      // Who was given a seat a moment ago, on another server, may be here before the news.
      const state = seatOf(seats.peek(roomId), session.userKey) ? seats.peek(roomId) : await seats.read(roomId)
      const seat = seatOf(state, session.userKey)
      if (!state || !seat) throw new NotSeated('Sending audio needs a seat')
      return { paused: isMuted(state, seat.userId), grant: String(seat.sitting) }
    },
    enforce,
    adopt (roomId, state) {
      for (const { session, producerId, grant } of sfu.producerHandles(roomId)) {
        const seat = seatOf(state, session.userKey)
        if (grant === undefined && seat) sfu.grant(session, producerId, String(seat.sitting))
      }
      enforce(roomId, state)
    },
    release (roomId) {
      for (const { session, producerId } of sfu.producerHandles(roomId)) follow(sfu.resumeProducer(session, 'server', producerId), roomId, producerId)
    }
  }
}
