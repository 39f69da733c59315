/** The level of digital silence, in dBov. */
export const silence = -127
/** Voices below this level (in dBov) are not mixed. */
const threshold = -80
/**
 * Smoothing factors per packet of 20 ms. With these factors, a voice is selected within two packets of its start and
 * stays selected in the pauses between words.
 */
const attack = 0.5
const release = 0.03
/** A voice that is at least this many dB louder than a selected voice immediately replaces the selected voice. */
const marginDb = 3
/**
 * A voice that is at least this many dB louder than a selected voice replaces it after {@link challengePackets}
 * packets.
 */
const minMarginDb = 0.5
const challengePackets = 50

/** @returns the smoothed level after a packet with the given level, in dBov */
export function smoothed (before: number, level: number): number {
  return before + (level - before) * (level > before ? attack : release)
}

/** A voice and its smoothed level in dBov. */
export interface Audible {
  readonly loudness: number
}

/** Selects the loudest voices, with hysteresis, so that two voices of similar level do not alternate. */
export class LoudestVoices<V extends Audible> {
  readonly #max: number
  readonly #selected = new Set<V>()
  #challenges = 0

  constructor (max: number) {
    this.#max = max
  }

  /**
   * Call this every 20 ms.
   *
   * @returns the selected voices; each call returns the same `Set` object
   */
  select (voices: ReadonlySet<V>): ReadonlySet<V> {
    const selected = this.#selected
    for (const voice of selected) if (!voices.has(voice) || voice.loudness < threshold) selected.delete(voice)
    let hasChallenger = false
    for (let i = 0; i <= this.#max; i++) {
      const challenger = this.#loudest(voices)
      if (!challenger || challenger.loudness < threshold) break
      if (selected.size < this.#max) {
        selected.add(challenger)
        continue
      }
      const weakest = quietest(selected)
      const margin = weakest ? challenger.loudness - weakest.loudness : 0
      if (!weakest || margin < minMarginDb) break
      hasChallenger = true
      if (margin < marginDb && this.#challenges < challengePackets) break
      selected.delete(weakest)
      selected.add(challenger)
      hasChallenger = false
    }
    this.#challenges = hasChallenger ? this.#challenges + 1 : 0
    return selected
  }

  #loudest (voices: ReadonlySet<V>): V | undefined {
    let best: V | undefined
    for (const voice of voices) if (!this.#selected.has(voice) && (!best || voice.loudness > best.loudness)) best = voice
    return best
  }
}

function quietest<V extends Audible> (voices: ReadonlySet<V>): V | undefined {
  let least: V | undefined
  for (const voice of voices) if (!least || voice.loudness < least.loudness) least = voice
  return least
}
