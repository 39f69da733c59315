import type { CloseReason } from './close-codes.ts'
import type { OutgoingEvent } from './face.ts'

/**
 * A session's transport: it writes frames to one client. Call `session.end()` when the client disconnects.
 *
 * @typeParam F the type of frame that the session's face (its message format) creates
 */
export interface Link<F = unknown> {
  /** Whether frames can be written. */
  readonly open: boolean
  /** Bytes in the send queue. */
  readonly queuedBytes: number
  /** @returns the size of a frame */
  bytesOf (frame: F): number
  /** @returns false if the frame does not fit in the send queue; the caller then closes the session with TOO_SLOW */
  write (frame: F): boolean
  /** Closes the connection with a code and its reason. */
  close (code: number, reason: CloseReason): void
  /** Closes the connection without waiting for the client. */
  terminate (): void
}

/**
 * @param failed called when `onEvent` throws
 * @returns a transport for a session without a connection; it passes all events to `onEvent`
 */
export function createCallbackLink (onEvent: (event: OutgoingEvent) => void, failed: (error: unknown) => void): Link<OutgoingEvent> {
  return {
    open: true,
    queuedBytes: 0,
    bytesOf: () => 0,
    write (event) {
      try {
        onEvent(event)
      } catch (error) {
        failed(error)
      }
      return true
    },
    close () {},
    terminate () {}
  }
}
