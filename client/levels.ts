/** If no new packet arrives within this time, in milliseconds, the level is 0. */
const freshMs = 300

/** The methods of an RTP receiver that `Levels` needs. */
export type LevelSource = Pick<RTCRtpReceiver, 'getSynchronizationSources'>

/** Reads audio levels from RTP header extensions (RFC 6464), without decoding the audio. */
export class Levels {
  readonly #newest = new WeakMap<LevelSource, { timestamp: number, seenAt: number }>()

  /**
   * @param now the current time, in milliseconds
   * @returns the level of the newest packet, 0 to 1; 0 if the packet is older than 300 ms
   */
  of (receiver: LevelSource, now = performance.now()): number {
    return this.measured(receiver, now) ?? 0
  }

  /** Like {@link of}, but returns undefined if no packet has arrived, or if the newest packet has no level. */
  measured (receiver: LevelSource, now = performance.now()): number | undefined {
    const [source] = receiver.getSynchronizationSources().sort((a, b) => b.timestamp - a.timestamp)
    if (!source) return
    const { timestamp, audioLevel } = source
    // Some browsers take the timestamps from an unknown clock, so a packet's age is the time since the first call that
    // saw its timestamp.
    const newest = this.#newest.get(receiver)
    const seenAt = newest?.timestamp === timestamp ? newest.seenAt : now
    this.#newest.set(receiver, { timestamp, seenAt })
    if (audioLevel === undefined) return
    return now - seenAt > freshMs ? 0 : Math.min(1, Math.max(0, audioLevel))
  }
}
