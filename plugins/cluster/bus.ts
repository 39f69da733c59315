/** Receives the messages of a channel in the same order on every server. */
export type BusHandler = (message: string) => void

/** A message, encoded for the Redis command or script that publishes it. */
export interface EncodedMessage {
  channel: string
  payload: string
}

/**
 * A message that the caller publishes, instead of the bus. If Redis does not echo the message, the bus delivers it on
 * this server.
 */
export interface TrackedMessage {
  encoded: EncodedMessage
  /** @param receivers how many connections received the message; 0 if publishing failed */
  settle (receivers: number): void
  /** Discards the message. Call this instead of {@link settle} if the message was not published. */
  discard (): void
}

/**
 * Sends messages between the servers of one deployment. All subscribers of a channel, on every server,
 * receive its messages in the same order. The publisher also receives its own messages.
 *
 * While Redis is unreachable, each server delivers its messages only to itself, so that its rooms keep working.
 */
export interface Bus {
  /** Resolves when the subscription is active. */
  subscribe (channel: string, handler: BusHandler): Promise<void>
  unsubscribe (channel: string, handler: BusHandler): Promise<void>
  /** @returns true if the message was sent to all servers, false if it was delivered only on this server */
  publish (channel: string, message: string): Promise<boolean>
  /**
   * Encodes a message for a script that changes data and publishes the message atomically. Delivery is not tracked.
   * After an interruption ({@link onHealed}), the subscriber must read the state again, because it may have missed
   * changes.
   *
   * @returns undefined if this process is the only server; call {@link publish} instead
   */
  encode (channel: string, message: string): EncodedMessage | undefined
  /** Like {@link encode}, but delivers the message on this server if Redis does not echo it. */
  track (channel: string, message: string): TrackedMessage | undefined
  /**
   * Publishes a message and waits until Redis echoes it.
   *
   * @throws UNAVAILABLE if the message cannot be published, or is not echoed within two seconds
   */
  check (): Promise<void>
  /** Calls `fn` after an interruption, once messages arrive again. Some messages may have been lost. */
  onHealed (fn: () => void): void
  close (): Promise<void>
}
