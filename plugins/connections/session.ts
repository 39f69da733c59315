import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import { WebSocket } from 'ws'
import { closeCodes } from './close-codes.ts'
import type { CloseReason } from './close-codes.ts'
import { createEvent } from './event.ts'
import type { OutgoingEvent } from './event.ts'
import { jsonFace } from './face.ts'
import type { Face } from './face.ts'
import { userKeyOf } from './user.ts'
import type { User } from './user.ts'

/** Who a connection belongs to and how long it may last. */
export interface Identity {
  user: User
  /** Epoch milliseconds; the session ends then. */
  expiresAt?: number | undefined
  /** Hex SHA-256 of the token, by which it can be revoked. */
  tokenHash?: string | undefined
}

export interface SessionLimits {
  maxQueueBytes: number
  messagesPerSecond: number
  messagesBurst: number
  pingMs: number
  pongTimeoutMs: number
}

/**
 * One connection of one user. It lives from the upgrade to the end of its
 * socket; what it holds elsewhere (room, transports) is released by those who
 * listen for `session:close`.
 */
export class Session {
  // Written to in this turn of the event loop; the writes of each leave
  // together at its end.
  static readonly #written: Session[] = []
  static #flush (): void {
    for (const session of Session.#written.splice(0)) {
      session.#corked = false
      session.#socket.uncork()
    }
  }

  readonly id = randomUUID()
  readonly connectedAt = Date.now()
  readonly user: User
  readonly userKey: string
  readonly identity: Identity
  /** How this client writes messages. */
  readonly face: Face<Buffer> = jsonFace
  /** The room it is in. Set by the rooms plugin alone. */
  roomId: string | null = null
  #endedFor: CloseReason | undefined
  readonly #ws: WebSocket
  readonly #socket: Socket
  readonly #limits: SessionLimits
  readonly #ended: () => void
  #tokens: number
  #refilledAt = performance.now()
  #timer: NodeJS.Timeout | undefined
  #corked = false

  /** @param ended called once, when the connection is over for this server: the peer may not have agreed yet */
  constructor (ws: WebSocket, socket: Socket, identity: Identity, limits: SessionLimits, ended: (session: Session) => void = () => {}) {
    this.#ws = ws
    this.#socket = socket
    this.#limits = limits
    this.#tokens = limits.messagesBurst
    this.identity = identity
    this.user = identity.user
    this.userKey = userKeyOf(identity.user.id)
    ws.on('pong', () => this.#schedulePing())
    let over = false
    this.#ended = () => {
      if (over) return
      over = true
      clearTimeout(this.#timer)
      ended(this)
    }
    ws.once('close', this.#ended)
    this.#schedulePing()
  }

  get open (): boolean {
    return this.#ws.readyState === WebSocket.OPEN
  }

  /** Why this server ended it; undefined when it did not. */
  get endedFor (): CloseReason | undefined {
    return this.#endedFor
  }

  /** Bytes that the peer has not taken yet. */
  get queuedBytes (): number {
    return this.#socket.writableLength
  }

  /** Sends one event to this socket alone. */
  send (type: string, data: unknown): void {
    this.write(createEvent(type, data))
  }

  /** Writes an event that may be shared with other sockets. */
  write (event: OutgoingEvent): void {
    this.#write(event.frame(this.face))
  }

  /** Writes the reply to a request. */
  reply (id: string | number, outcome: Parameters<Face['reply']>[1]): void {
    const frame = this.face.reply(id, outcome)
    if (frame) this.#write(frame)
  }

  /** A socket whose backlog would pass its limit is closed instead; no other socket waits for it. */
  #write (frame: Buffer): void {
    if (!this.open) return
    if (this.#socket.writableLength + frame.length > this.#limits.maxQueueBytes) return this.close('TOO_SLOW')
    if (!this.#corked) {
      this.#corked = true
      this.#socket.cork()
      if (Session.#written.push(this) === 1) process.nextTick(Session.#flush)
    }
    this.#socket.write(frame)
  }

  /**
   * Ends the connection with a close code and its reason. What it holds is
   * released right after: a peer that does not answer keeps neither its place in a
   * room nor its audio. Idempotent.
   */
  close (reason: CloseReason): void {
    this.#endedFor ??= reason
    this.#ws.close(closeCodes[reason], reason)
    // Not now: it may be called while an event is being written to a room, and
    // what follows from the end must come after it for everybody.
    process.nextTick(this.#ended)
  }

  /** Ends the connection without waiting for the peer. */
  terminate (): void {
    this.#ws.terminate()
  }

  /**
   * Counts one message against the flood limit, a bucket that refills steadily.
   *
   * @returns false when the socket sends too much
   */
  admit (): boolean {
    const now = performance.now()
    const { messagesPerSecond, messagesBurst } = this.#limits
    this.#tokens = Math.min(messagesBurst, this.#tokens + (now - this.#refilledAt) / 1000 * messagesPerSecond)
    this.#refilledAt = now
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }

  #schedulePing (): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      if (!this.open) return
      this.#ws.ping()
      this.#timer = setTimeout(() => this.terminate(), this.#limits.pongTimeoutMs)
    }, this.#limits.pingMs)
  }
}
