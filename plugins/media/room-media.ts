import type { types } from 'mediasoup'
import type { Session } from '../connections/session.ts'
import type { UserId } from '../connections/user.ts'
import type { MediaWorker } from './pool.ts'
import type { Speakers } from './speakers.ts'

export type Direction = 'producer' | 'consumer'
/** Who keeps a producer silent. It is heard when nobody does. */
export type PausedBy = 'self' | 'server'

/** A producer as the rest of the server sees it. */
export interface ProducerInfo {
  producerId: string
  userId: UserId
  isPaused: boolean
}

export interface ProducerEntry {
  producer: types.Producer
  session: Session
  pausedBy: Set<PausedBy>
  /** What {@link ProducePermit} said it was allowed for. */
  grant: string | undefined
}

/** On what terms a socket may send audio. */
export interface ProducePermit {
  /** Whether the server keeps it silent from the start. */
  paused?: boolean
  /** For what it is allowed: whoever gave the permit recognises by it what was allowed for something else. */
  grant?: string | undefined
}

/** A producer to those who decide over it. */
export interface ProducerHandle {
  session: Session
  producerId: string
  grant: string | undefined
}

/** What one socket has on the media server. */
export interface Peer {
  session: Session
  media: RoomMedia
  transports: Partial<Record<Direction, types.WebRtcTransport>>
  /** Transports that have been connected: a second time is refused. */
  connected: Set<string>
  /** How many producers are being made. */
  producing: number
  producers: Map<string, ProducerEntry>
  /** By consumer id. */
  consumers: Map<string, types.Consumer>
  closed: boolean
}

/** A room's router and all that hangs on it. */
export interface RoomMedia {
  roomId: string
  worker: MediaWorker
  router: types.Router
  speakers: Speakers
  peers: Map<string, Peer>
  producers: Map<string, ProducerEntry>
  closed: boolean
}

export function infoOf ({ producer, session, pausedBy }: ProducerEntry): ProducerInfo {
  return { producerId: producer.id, userId: session.user.id, isPaused: pausedBy.size > 0 }
}
