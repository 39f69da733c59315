import type { types } from 'mediasoup'
import type { Session } from '../sockets/session.ts'
import type { UserId } from '../sockets/user.ts'
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
