import { randomUUID } from 'node:crypto'
import { closeCodes } from './close-codes.ts'
import type { CloseReason } from './close-codes.ts'
import { createEvent } from './face.ts'
import type { Face, OutgoingEvent } from './face.ts'
import type { Link } from './link.ts'
import { maxEventBytes } from '../schema/sizes.ts'

/** A user's id: a string or a number, as in the token. */
export type UserId = string | number

/** A user's public data: `userId`, and the public claims of the token. */
export interface Profile {
  userId: UserId
  id: UserId
  [claim: string]: unknown
}

/** The user of a connection. */
export interface User {
  id: UserId
  name: string
  roles: readonly string[]
  profile: Profile
}

/**
 * Converts a user's id to the string that identifies the user in comparisons and in storage: the ids 42 and "42" mean
 * the same user.
 *
 * @param id the id from a token or a request
 */
export function userKeyOf (id: UserId): string {
  return String(id)
}

/** A session's user and expiry. */
export interface Identity {
  user: User
  /** When the session ends, in epoch milliseconds. */
  expiresAt?: number | undefined
  /** Hex SHA-256 of the token. Identifies the token for revocation. */
  tokenHash?: string | undefined
  /** All claims of the token, for features that need more than the profile. */
  claims?: Readonly<Record<string, unknown>> | undefined
  /** The client's address, if the session has a connection. */
  address?: string | undefined
}

/** Limits on the incoming frames of one session. */
export interface FloodLimits {
  messagesPerSecond: number
  messagesBurst: number
  bytesPerSecond: number
  bytesBurst: number
}

/** Handles a frame that is within the session's limits. */
export type FrameReader = (session: Session, data: Buffer, isBinary: boolean) => void

export interface SessionOptions<F = unknown> {
  identity: Identity
  face: Face<F>
  link: Link<F>
  /** Epoch milliseconds. */
  connectedAt: number
  /** Whether the session has a client connection. */
  connected: boolean
  limits: FloodLimits
  reader: FrameReader
  /** Checks an event that is sent only to this session. */
  check?: (type: string, data: unknown) => void
  /** Called once when the session ends, before the client confirms the close. */
  onEnd?: (session: Session) => void
  /** Called when the link throws. The session then ends. */
  onLinkError?: (error: unknown, session: Session) => void
}

/** A session's room. The rooms plugin declares its properties here by module augmentation. */
export interface SessionRoom {
  readonly roomId: string
}

/**
 * A user's session on this server: over a WebSocket, over a feature's own transport, or without a connection. When the
 * session ends, handlers of `session:close` remove the session from its room and close its transports.
 */
export class Session {
  readonly id = randomUUID()
  /** Epoch milliseconds. */
  readonly connectedAt: number
  readonly userKey: string
  /** The client's message format. */
  readonly face: Face
  /**
   * Whether the session has a client connection. Without a connection, only the feature that opened the session
   * receives its events.
   */
  readonly connected: boolean
  /** The room that the session is in. Set only by the rooms plugin. */
  room: SessionRoom | null = null
  /**
   * Whether the connection ended without a close frame, so that the client may have missed the last events. Set only by
   * the session's transport.
   */
  isLost = false
  /** Whether the session sends or receives audio. Set only by the media plugin. */
  hasAudio = false
  #identity: Identity
  readonly #link: Link
  readonly #messages: TokenBucket
  readonly #bytes: TokenBucket
  readonly #reader: FrameReader
  readonly #check: (type: string, data: unknown) => void
  readonly #onEnd: (session: Session) => void
  readonly #onLinkError: (error: unknown, session: Session) => void
  #endedFor: CloseReason | undefined
  #ended = false
  #closing = false
  /** Events that are delayed until {@link sendFirst} is called. */
  #waiting: OutgoingEvent[] | undefined

  constructor ({ identity, face, link, connectedAt, connected, limits, reader, check = () => {}, onEnd = () => {}, onLinkError = () => {} }: SessionOptions<unknown>) {
    this.#identity = identity
    this.userKey = userKeyOf(identity.user.id)
    this.face = face
    this.connectedAt = connectedAt
    this.connected = connected
    this.#link = link
    this.#messages = new TokenBucket(limits.messagesPerSecond, limits.messagesBurst)
    this.#bytes = new TokenBucket(limits.bytesPerSecond, limits.bytesBurst)
    this.#reader = reader
    this.#check = check
    this.#onEnd = onEnd
    this.#onLinkError = onLinkError
  }

  get identity (): Identity {
    return this.#identity
  }

  get user (): User {
    return this.#identity.user
  }

  get roomId (): string | null {
    return this.room?.roomId ?? null
  }

  /**
   * Applies the identity from a newer token of the same user. Called by the kernel, which then restarts the session's
   * expiry timers.
   */
  renew (identity: Identity): void {
    this.#identity = { ...this.#identity, ...identity }
  }

  get open (): boolean {
    return !this.#closing && this.#callLink(({ open }) => open, false)
  }

  /** The close reason, if this server closed the session with a close code. */
  get endedFor (): CloseReason | undefined {
    return this.#endedFor
  }

  /** Bytes in the send queue. */
  get queuedBytes (): number {
    return this.#callLink(({ queuedBytes }) => queuedBytes, 0)
  }

  /** Handles a frame from the client. Closes the session if the frame exceeds the session's limits. */
  receive (data: Buffer, isBinary: boolean): void {
    if (!this.open) return
    if (isBinary && this.face.binary !== true) return this.close('UNSUPPORTED_DATA')
    if (this.admit(data.length)) this.#reader(this, data, isBinary)
  }

  /**
   * Counts a frame of any kind against the limits; closes the session if the limits are exceeded.
   *
   * @returns true if the frame is within the limits and can be handled
   */
  admit (bytes: number): boolean {
    if (this.#messages.take(1) && this.#bytes.take(bytes)) return true
    this.close('FLOODING')
    return false
  }

  /** Sends an event only to this session. */
  send (type: string, data: unknown): void {
    this.#check(type, data)
    this.write(createEvent(type, data))
  }

  /** Delays all events until {@link sendFirst} is called. Called by the kernel. */
  awaitFirst (): void {
    this.#waiting = []
  }

  /** Sends the first event of the session, then the delayed events. Called by the kernel. */
  sendFirst (type: string, data: unknown): void {
    const waiting = this.#waiting ?? []
    this.#waiting = undefined
    this.send(type, data)
    for (const event of waiting) this.write(event)
  }

  /** Writes an event that may be shared with other sessions. */
  write (event: OutgoingEvent): void {
    if (!this.open) return
    if (this.#waiting) this.#waiting.push(event)
    else this.#write(event.frame(this.face))
  }

  /**
   * Writes the reply to a request.
   *
   * @param shorten shortens the data of a reply whose frame exceeds {@link maxEventBytes} by `excess` bytes
   */
  reply (id: string | number, outcome: Parameters<Face['reply']>[1], shorten?: (data: never, excess: number) => unknown): void {
    if (!this.open) return
    let frame = this.face.reply(id, outcome)
    if (outcome.ok && shorten && frame !== undefined) {
      const excess = this.#callLink((link) => link.bytesOf(frame), 0) - maxEventBytes
      if (excess > 0) frame = this.face.reply(id, { ok: true, data: shorten(outcome.data as never, excess) })
    }
    this.#write(frame)
  }

  /**
   * Writes a frame, or closes the session if the frame does not fit in the send queue. Never waits for a slow client.
   */
  #write (frame: unknown): void {
    if (frame !== undefined && !this.#callLink((link) => link.write(frame), true)) this.close('TOO_SLOW')
  }

  /**
   * Calls the link. If a feature's link throws, only this session ends, because the caller may handle other sessions as
   * well.
   *
   * @param otherwise the result if the link throws
   */
  #callLink<T> (call: (link: Link) => T, otherwise: T): T {
    try {
      return call(this.#link)
    } catch (error) {
      this.#onLinkError(error, this)
      this.terminate()
      return otherwise
    }
  }

  /**
   * Closes the session with a close code and its reason. Without waiting for the client, the session leaves its room
   * and its transports are closed. Idempotent.
   */
  close (reason: CloseReason): void {
    if (this.#closing) return
    this.#endedFor = reason
    this.#closing = true
    this.#callLink((link) => link.close(closeCodes[reason], reason), undefined)
    this.#endSoon()
  }

  /** Closes the connection without waiting for the client. Idempotent. */
  terminate (): void {
    this.#closing = true
    try {
      this.#link.terminate()
    } catch (error) {
      this.#onLinkError(error, this)
    }
    this.#endSoon()
  }

  /** Releases the session's resources after its client disconnects. Called by the link's owner. Idempotent. */
  end (): void {
    this.#closing = true
    if (this.#ended) return
    this.#ended = true
    this.#onEnd(this)
  }

  /**
   * Ends the session on the next tick, because the session may be closed while an event is being sent to its room. All
   * members must receive that event before the events that the close causes.
   */
  #endSoon (): void {
    process.nextTick(() => this.end())
  }
}

/** Token bucket: a rate limit that allows bursts. */
class TokenBucket {
  readonly #perSecond: number
  readonly #capacity: number
  #tokens: number
  #refilledAt = performance.now()

  constructor (perSecond: number, capacity: number) {
    this.#perSecond = perSecond
    this.#capacity = capacity
    this.#tokens = capacity
  }

  /** @returns false if the bucket has too few tokens */
  take (tokens: number): boolean {
    const now = performance.now()
    this.#tokens = Math.min(this.#capacity, this.#tokens + (now - this.#refilledAt) / 1000 * this.#perSecond)
    this.#refilledAt = now
    if (this.#tokens < tokens) return false
    this.#tokens -= tokens
    return true
  }
}
