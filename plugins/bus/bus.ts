import type { Envelope } from '../store/store.ts'

/** Receives what was published, in the order in which it was published. */
export type BusHandler = (message: string) => void

/**
 * How the servers of one deployment talk. Every subscriber of a channel, on
 * every server, gets its messages in the same order; that of the publisher too.
 *
 * While the Redis behind it is away, messages reach this server's own
 * subscribers, so that rooms that live here go on.
 */
export interface Bus {
  /** @returns once messages that are published from now on will arrive */
  subscribe (channel: string, handler: BusHandler): Promise<void>
  unsubscribe (channel: string, handler: BusHandler): Promise<void>
  /**
   * @param send has a store publish it, in one step with a change of its own; it gets
   *   nothing where there is only this process, and is called before anybody hears
   * @returns true when it went to all servers, false when only to this one
   */
  publish (channel: string, message: string, send?: (envelope: Envelope | undefined) => Promise<number>): Promise<boolean>
  /**
   * A message as a store can publish it in one step with a change of its own.
   * Whoever sends it so does not know whether it came back: after an
   * interruption ({@link onHealed}) the state itself must be looked at.
   *
   * @returns undefined where only {@link publish} can
   */
  envelope (channel: string, message: string): Envelope | undefined
  /**
   * Sends a message around and waits for it.
   *
   * @throws UNAVAILABLE when it does not come back within two seconds
   */
  check (): Promise<void>
  /** Calls `fn` whenever messages may have been missed and flow again. */
  onHealed (fn: () => void): void
  close (): Promise<void>
}
