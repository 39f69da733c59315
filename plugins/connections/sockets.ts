import type { IncomingMessage } from 'node:http'
import type { WebSocket } from 'ws'
import type { CloseReason } from './close-codes.ts'
import type { Face, OutgoingEvent } from './face.ts'
import type { Link } from './link.ts'
import type { SessionRegistry } from './registry.ts'
import type { FrameReader, Identity, Session, UserId } from './session.ts'

/** A session over a feature's own transport, or without a connection. */
export type OpenOptions<F = unknown> = {
  identity: Identity
  /** Called once when the session has ended, with the reason for which the server closed it; undefined if its owner ended it. */
  onClose?: (reason: CloseReason | undefined) => void
} & ({
  face: Face<F>
  link: Link<F>
} | {
  face?: undefined
  link?: undefined
  /** Receives its events; without it, they are dropped. */
  onEvent?: (event: OutgoingEvent) => void
})

/** The API for features. */
export interface FeatureSockets extends Pick<SessionRegistry, 'size' | 'get' | 'all' | 'ofUser'> {
  /**
   * Opens a session that has no WebSocket of the kernel. The session counts toward MAX_CONNECTIONS.
   * Like every session it can join rooms, take seats, send and receive audio, and be closed and kicked.
   * It leaves its room when it ends.
   * The session outlives reloads of its feature. It is closed with SHUTTING_DOWN when the feature is disabled.
   *
   * @throws DRAINING, OVERLOADED
   */
  open<F> (options: OpenOptions<F>): Session
  /**
   * Replaces a session's token by a newer one. The session then ends with the newer one.
   *
   * @throws FORBIDDEN if it belongs to another user
   */
  renew (session: Session, identity: Identity): void
  /**
   * Handles a frame that arrived over a session's own link, within the limits of a
   * connection: decodes it by the session's face, runs the request, writes the reply.
   */
  receive (session: Session, data: Buffer, isBinary: boolean): void
  /**
   * Sends one event to every session of a user, on every server.
   *
   * @returns true if it went to all servers, false if only to this one
   */
  toUser (userId: UserId, type: string, data: object): Promise<boolean>
  /** Sends one event to every session of this server. */
  broadcast (type: string, data: unknown): void
}

/** The protocol of one WebSocket path. */
export interface ConnectionOptions {
  /** The native protocol by default. */
  face?: Face<string | Uint8Array>
  /** The owner of the path. */
  owner?: string
}

/** All sessions of this server. */
export interface Sockets extends FeatureSockets {
  /** Opens the session of an upgraded WebSocket. */
  accept (ws: WebSocket, request: IncomingMessage, identity: Identity, options?: ConnectionOptions): Session
  /** Sets the reader of frames. */
  readWith (reader: FrameReader): void
  /** @returns the API for one feature, which owns the sessions it opens */
  forFeature (name: string): FeatureSockets
}
