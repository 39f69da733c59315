/** How long a packet is still what is played at the moment, in milliseconds. */
const freshMs = 300

/** What is looked at of a receiver. */
export type LevelSource = Pick<RTCRtpReceiver, 'getSynchronizationSources'>

/** How loud what is received is: taken from the packets themselves (RFC 6464), so that no audio has to be looked at. */
export class Levels {
  readonly #newest = new WeakMap<LevelSource, { timestamp: number, seenAt: number }>()

  /**
   * The level of the newest packet; 0 once none has come for a while.
   *
   * @param now a clock in milliseconds
   * @returns 0 to 1
   */
  of (receiver: LevelSource, now = performance.now()): number {
    const [source] = receiver.getSynchronizationSources().sort((a, b) => b.timestamp - a.timestamp)
    if (!source) return 0
    const { timestamp, audioLevel = 0 } = source
    // Not every browser's timestamps are of a clock that can be read here, so what
    // counts is when the newest packet became another one.
    const newest = this.#newest.get(receiver)
    const seenAt = newest?.timestamp === timestamp ? newest.seenAt : now
    this.#newest.set(receiver, { timestamp, seenAt })
    return now - seenAt > freshMs ? 0 : Math.min(1, Math.max(0, audioLevel))
  }
}
