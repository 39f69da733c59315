import type { FeatureInstance, ProducePermit, ProducerHandle, Session } from 'flylive-audio-server/feature'
import { NotSeated } from './errors.ts'
import type { Seats } from './service.ts'
import { isMuted, seatOf } from './state.ts'
import type { SeatState } from './state.ts'

/** Applies seats and mutes to the producers of this server (protocol.md, media rules). */
export interface SpeakPermissions {
  /**
   * Decides whether a member may send audio, and whether it starts paused.
   *
   * @throws NOT_SEATED
   */
  permit (roomId: string, session: Session): Promise<ProducePermit>
  /** Closes the producers of users without a seat; pauses or resumes the others by their mutes. */
  enforce (roomId: string, state: SeatState | undefined): void
  /** Grants running producers of seated users their seat, then enforces. For a feature that was turned on. */
  hydrate (roomId: string, state: SeatState | undefined): void
  /** Resumes the producers that mutes have paused. For a feature that was turned off. */
  release (roomId: string): void
}

export function createSpeakPermissions ({ log, sfu }: FeatureInstance, seats: Seats): SpeakPermissions {
  /** Producers that need a seat. Services need none, and the node of the speaker checks relayed producers. */
  const producersIn = (roomId: string) => sfu.producerHandles(roomId).filter(({ owner }) => owner.kind === 'session')

  function logFailure (change: Promise<void>, roomId: string, { producerId }: ProducerHandle): void {
    change.catch((err: unknown) => log.debug({ err, roomId, producerId }, 'producer closed before it was paused or resumed'))
  }

  function enforce (roomId: string, state: SeatState | undefined): void {
    for (const producer of producersIn(roomId)) {
      const seat = seatOf(state, producer.owner.userKey)
      // A user who moves to another seat loses the grant of the previous one.
      if (!state || !seat || String(seat.sitting) !== producer.grant) producer.close()
      else logFailure(isMuted(state, seat.userId) ? producer.pause('server') : producer.resume('server'), roomId, producer)
    }
  }

  return {
    async permit (roomId, session) {
      // The local copy may lag behind a seat that another server has just assigned.
      const state = seatOf(seats.peek(roomId), session.userKey) ? seats.peek(roomId) : await seats.read(roomId)
      const seat = seatOf(state, session.userKey)
      if (!state || !seat) throw new NotSeated('Sending audio requires a seat')
      return { paused: isMuted(state, seat.userId), grant: String(seat.sitting) }
    },
    enforce,
    hydrate (roomId, state) {
      for (const producer of producersIn(roomId)) {
        const seat = seatOf(state, producer.owner.userKey)
        if (producer.grant === undefined && seat) producer.grant = String(seat.sitting)
      }
      enforce(roomId, state)
    },
    release (roomId) {
      for (const producer of producersIn(roomId)) logFailure(producer.resume('server'), roomId, producer)
    }
  }
}
