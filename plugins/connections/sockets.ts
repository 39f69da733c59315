import type { IncomingMessage } from 'node:http'
import type { WebSocket } from 'ws'
import type { Admission, ClientConnection } from './admission.ts'
import type { CloseReason } from './close-codes.ts'
import type { Face, OutgoingEvent } from './face.ts'
import type { Link } from './link.ts'
import type { SessionRegistry } from './registry.ts'
import type { FrameReader, Identity, Session, UserId } from './session.ts'

/** Options for a session over a feature's own transport, or without a connection. */
export type OpenOptions<F = unknown> = {
  identity: Identity
  /**
   * Called when the session ends. `reason` is the server's close reason; undefined if the feature ended the session.
   */
  onClose?: (reason: CloseReason | undefined) => void
} & ({
  face: Face<F>
  link: Link<F>
} | {
  face?: undefined
  link?: undefined
  /** Receives the session's events. Without this callback, the events are dropped. */
  onEvent?: (event: OutgoingEvent) => void
})

/** The session API for features. */
export interface FeatureSockets extends Pick<SessionRegistry, 'size' | 'get' | 'all' | 'ofUser'> {
  /**
   * Checks a new connection over a feature's own transport, before the connection's user is known. Counts the
   * connection towards MAX_CONNECTIONS_PER_IP until the connection closes. Also counts it towards MAX_CONNECTIONS until
   * it closes or gets a session; the session is then counted instead.
   *
   * @param request the first HTTP request of the connection
   * @param connection an object that emits `close` once; if undefined, the call counts nothing and only checks whether
   *   a new connection would be accepted
   * @returns the client's address
   * @throws DRAINING, OVERLOADED, TOO_MANY_CONNECTIONS
   */
  admit (request: IncomingMessage, connection?: ClientConnection): string
  /**
   * Identifies the user of a connection that {@link admit} has accepted, and counts the connection towards
   * MAX_CONNECTIONS_PER_USER until it closes. The caller then opens the session with the returned identity.
   *
   * @param token the token; undefined if the client sent no token
   * @throws ORIGIN_NOT_ALLOWED, UNAUTHORIZED, UNAVAILABLE, FEATURE_DISABLED, TOO_MANY_CONNECTIONS, DRAINING
   */
  identify (request: IncomingMessage, token: string | undefined, connection: ClientConnection): Promise<Identity>
  /**
   * Opens a session that does not use one of the server's own WebSockets. The session counts towards MAX_CONNECTIONS.
   * The session can join rooms, take seats, send and receive audio, and be closed or kicked, like every other session.
   * When the session ends, it leaves its room. The session outlives reloads of its feature and is closed with
   * SHUTTING_DOWN when the feature is disabled. If the feature's own `onEvent`, `onClose` or `link` throws, the error is
   * logged and counted as a failure of the feature; a session whose `link` throws ends.
   *
   * @throws DRAINING, OVERLOADED; FEATURE_DISABLED if the feature has been disabled during the call that opens the session
   */
  open<F> (options: OpenOptions<F>): Session
  /**
   * Replaces a session's token with a newer token. The session then ends when the newer token expires.
   *
   * @throws FORBIDDEN if the newer token belongs to another user
   */
  renew (session: Session, identity: Identity): void
  /**
   * Handles a frame that arrived over a feature's own transport: decodes the frame in the session's message format,
   * runs the request and writes the reply. The limits on incoming messages apply.
   */
  receive (session: Session, data: Buffer, isBinary: boolean): void
  /**
   * Sends one event to all of a user's sessions, on every server.
   *
   * @returns true if the event was sent to all servers, false if it was sent only on this server
   */
  toUser (userId: UserId, type: string, data: object): Promise<boolean>
  /**
   * Sends one event to every session on this server.
   *
   * @param variants the event's data. Each session receives one variant; the variants are distributed evenly over the
   *   sessions
   */
  broadcast (type: string, ...variants: unknown[]): void
}

/** The protocol of one WebSocket path. */
export interface ConnectionOptions {
  /** The message format. Default: the native protocol. */
  face?: Face<string | Uint8Array>
  /** The owner of the path: `kernel`, or a feature's name. */
  owner?: string
  /**
   * Handles the session's incoming frames. If set, the server does not decode these frames with `face` and does not
   * handle them as requests.
   */
  reader?: FrameReader
  /** Called after the session opens, before its first frame is handled. */
  opened?: (session: Session) => void
}

/**
 * Checks an event against the schema that the event's owner declares. Events without a declared schema are not
 * checked.
 *
 * @throws in development and in tests, if the data does not match the schema
 */
export type EventCheck = (type: string, data: unknown) => void

/** The session API for the kernel. */
export interface Sockets extends FeatureSockets {
  readonly admission: Admission
  /** Opens a session for an upgraded WebSocket. */
  accept (ws: WebSocket, request: IncomingMessage, identity: Identity, options?: ConnectionOptions): Session
  /** Sets the function that handles incoming frames. */
  readWith (reader: FrameReader): void
  /** Sets the function that checks events against their schemas. */
  checkWith (check: EventCheck): void
  /** @returns the session API for one feature. The feature owns the sessions that it opens with this API */
  forFeature (name: string): FeatureSockets
}
