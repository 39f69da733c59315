import type { Connection } from './connection.ts'
import { Emitter } from './emitter.ts'
import type { JoinReply, UserId } from './protocol.ts'

export interface DetailsEvents {
  /** A room detail, a role or a raised hand changed. */
  change: []
}

/**
 * A read-only view of the current room's details. To change the details, send requests, for example
 * `connection.request('room:update', { title })`. The view changes when the server's event arrives.
 */
export class RoomDetails extends Emitter<DetailsEvents> {
  readonly #admins = new Set<string>()
  readonly #raised = new Set<string>()
  #roomId: string | undefined
  #title: string | null = null
  #topic: string | null = null
  #isLocked = false
  #slowModeSeconds = 0
  #recordingId: string | null = null
  #hlsUrl: string | null = null

  /** @param connection delivers the server events */
  constructor (connection: Connection) {
    super()
    const here = (roomId: string) => this.#roomId === roomId
    connection.on('room:updated', ({ roomId, title, topic, isLocked }) => {
      if (!here(roomId)) return
      this.#title = title
      this.#topic = topic
      this.#isLocked = isLocked
      this.emit('change')
    })
    connection.on('room:role', ({ roomId, userId, role }) => {
      if (!here(roomId)) return
      if (role === 'admin') this.#admins.add(String(userId))
      else this.#admins.delete(String(userId))
      this.emit('change')
    })
    connection.on('room:owner', ({ roomId, ownerId }) => {
      if (here(roomId) && this.#admins.delete(String(ownerId))) this.emit('change')
    })
    connection.on('chat:mode', ({ roomId, slowModeSeconds }) => {
      if (!here(roomId)) return
      this.#slowModeSeconds = slowModeSeconds
      this.emit('change')
    })
    connection.on('recording:started', ({ roomId, recordingId }) => {
      if (!here(roomId)) return
      this.#recordingId = recordingId
      this.emit('change')
    })
    connection.on('recording:stopped', ({ roomId, recordingId }) => {
      if (!here(roomId) || this.#recordingId !== recordingId) return
      this.#recordingId = null
      this.emit('change')
    })
    connection.on('broadcast:started', ({ roomId, hlsUrl }) => {
      if (!here(roomId)) return
      this.#hlsUrl = hlsUrl
      this.emit('change')
    })
    connection.on('broadcast:stopped', ({ roomId }) => {
      if (!here(roomId)) return
      this.#hlsUrl = null
      this.emit('change')
    })
    connection.on('seat:hand', ({ roomId, userId, handRaised }) => {
      if (!here(roomId)) return
      if (handRaised) this.#raised.add(String(userId))
      else this.#raised.delete(String(userId))
      this.emit('change')
    })
    connection.on('feature:disabled', ({ name }) => {
      if (name === 'seats') this.#raised.clear()
      else if (name === 'recording') this.#recordingId = null
      else if (name === 'broadcast') this.#hlsUrl = null
      else return
      this.emit('change')
    })
  }

  /** null if the room has no title. */
  get title (): string | null {
    return this.#title
  }

  /** null if the room has no topic. */
  get topic (): string | null {
    return this.#topic
  }

  /** True if the room is locked: new users need a PIN to join. If the room has no PIN, new users cannot join. */
  get isLocked (): boolean {
    return this.#isLocked
  }

  /** Minimum time between two chat messages from the same member, in seconds; 0 if slow mode is off. */
  get slowModeSeconds (): number {
    return this.#slowModeSeconds
  }

  /**
   * Id of the current recording; null while the room is not recorded. While a room is recorded, apps must show this to
   * everyone in the room.
   */
  get recordingId (): string | null {
    return this.#recordingId
  }

  /**
   * Address of the room's HLS playlist; null while the room is not broadcast. While a room is broadcast, apps must show
   * this to the users with a seat.
   */
  get hlsUrl (): string | null {
    return this.#hlsUrl
  }

  /** True if the room's owner has made the user an admin. */
  isAdmin (userId: UserId): boolean {
    return this.#admins.has(String(userId))
  }

  /**
   * Whether a user has raised a hand. In big rooms, the result may be wrong for a user who is not in `participants` and
   * raised the hand before this client joined.
   */
  hasRaisedHand (userId: UserId): boolean {
    return this.#raised.has(String(userId))
  }

  /** Initializes the view from a join reply. */
  start ({ roomId, title, topic, isLocked, admins = [], slowModeSeconds = 0, recording, broadcast, participants }: JoinReply): void {
    this.#clear()
    this.#roomId = roomId
    this.#title = title
    this.#topic = topic
    this.#isLocked = isLocked
    this.#slowModeSeconds = slowModeSeconds
    this.#recordingId = recording?.recordingId ?? null
    this.#hlsUrl = broadcast?.hlsUrl ?? null
    for (const userId of admins) this.#admins.add(String(userId))
    for (const { userId, handRaised } of participants) if (handRaised === true) this.#raised.add(String(userId))
    this.emit('change')
  }

  /** Clears the view after the user leaves the room. Idempotent. */
  stop (): void {
    this.#clear()
    this.emit('change')
  }

  #clear (): void {
    this.#roomId = undefined
    this.#title = null
    this.#topic = null
    this.#isLocked = false
    this.#slowModeSeconds = 0
    this.#recordingId = null
    this.#hlsUrl = null
    this.#admins.clear()
    this.#raised.clear()
  }
}
