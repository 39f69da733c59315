import type { FeatureInstance, ProducePermit, ProducerHandle, Session } from 'flylive-audio-server/feature'
import { NotSeated } from './errors.ts'
import type { Seats } from './service.ts'
import { isMuted, seatOf } from './state.ts'
import type { SeatState } from './state.ts'

/** Which members may send audio, by the seats of their room (protocol.md, media rules). */
export interface SpeakPermissions {
  /**
   * Returns the terms on which a member may send audio.
   *
   * @throws NOT_SEATED
   */
  permit (roomId: string, session: Session): Promise<ProducePermit>
  /** Applies the seats of a room to its producers on this server: closes, pauses and resumes them. */
  enforce (roomId: string, state: SeatState | undefined): void
  /** Applies seats to a room in which everyone could speak until now; producers of seated users continue. */
  adopt (roomId: string, state: SeatState | undefined): void
  /** Resumes the producers of a room on this server that seats have paused. */
  release (roomId: string): void
}

export function createSpeakPermissions ({ log, sfu }: FeatureInstance, seats: Seats): SpeakPermissions {
  /** Producers that need a seat. Services need none, and relays were allowed on the node of their speaker. */
  const producersIn = (roomId: string) => sfu.producerHandles(roomId).filter(({ owner }) => owner.kind === 'session')

  function follow (change: Promise<void>, roomId: string, { producerId }: ProducerHandle): void {
    change.catch((err: unknown) => log.debug({ err, roomId, producerId }, 'a producer closed while it was paused or resumed'))
  }

  function enforce (roomId: string, state: SeatState | undefined): void {
    for (const producer of producersIn(roomId)) {
      const seat = seatOf(state, producer.owner.userKey)
      // A user who has moved no longer has the seat of the grant.
      if (!state || !seat || String(seat.sitting) !== producer.grant) producer.close()
      else follow(isMuted(state, seat.userId) ? producer.pause('server') : producer.resume('server'), roomId, producer)
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
      for (const producer of producersIn(roomId)) {
        const seat = seatOf(state, producer.owner.userKey)
        if (producer.grant === undefined && seat) producer.grant = String(seat.sitting)
      }
      enforce(roomId, state)
    },
    release (roomId) {
      for (const producer of producersIn(roomId)) follow(producer.resume('server'), roomId, producer)
    }
  }
}
