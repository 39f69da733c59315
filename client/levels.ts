/** How long the level of the last packet stays valid, in milliseconds. */
const freshMs = 300

/** The part of an RTP receiver that `Levels` uses. */
export type LevelSource = Pick<RTCRtpReceiver, 'getSynchronizationSources'>

/** Audio levels from the RTP header extension (RFC 6464), without decoding audio. */
export class Levels {
  readonly #newest = new WeakMap<LevelSource, { timestamp: number, seenAt: number }>()

  /**
   * @param now the current time, in milliseconds
   * @returns the level of the newest packet, 0 to 1; 0 if it is older than 300 ms
   */
  of (receiver: LevelSource, now = performance.now()): number {
    return this.measured(receiver, now) ?? 0
  }

  /** Like {@link of}, but returns undefined if no packet has arrived, or if the newest one has no level. */
  measured (receiver: LevelSource, now = performance.now()): number | undefined {
    const [source] = receiver.getSynchronizationSources().sort((a, b) => b.timestamp - a.timestamp)
    if (!source) return
    const { timestamp, audioLevel } = source
    // Some browsers take the timestamps from an unknown clock, so measure a packet's age from when its timestamp was
    // first seen.
    const newest = this.#newest.get(receiver)
    const seenAt = newest?.timestamp === timestamp ? newest.seenAt : now
    this.#newest.set(receiver, { timestamp, seenAt })
    if (audioLevel === undefined) return
    return now - seenAt > freshMs ? 0 : Math.min(1, Math.max(0, audioLevel))
  }
}
