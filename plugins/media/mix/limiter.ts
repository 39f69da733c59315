/** Maximum sample value of the mix, about 1 dB below the 16-bit maximum, because the encoder overshoots slightly. */
const ceiling = 29_200
/**
 * The limiter reduces the gain within this many samples per channel (2.5 ms). Afterwards, the gain rises by about 9 dB
 * per second.
 */
const attackSamples = 120
const releasePerFrame = 1.02

/** Reduces the gain of the mix while the sum of the voices is too loud, so that no samples are clipped. */
export class Limiter {
  #gain = 1

  /**
   * @param mix the sum of all voices for 20 ms, as interleaved samples in 16-bit units
   * @param out receives the limited samples
   */
  process (mix: Float32Array, channels: number, out: Int16Array): void {
    let peak = 0
    for (let i = 0; i < mix.length; i++) {
      const value = Math.abs(mix[i] as number)
      if (value > peak) peak = value
    }
    const from = this.#gain
    const needed = peak > ceiling ? ceiling / peak : 1
    const to = Math.min(needed, from * releasePerFrame, 1)
    this.#gain = to
    if (from === 1 && to === 1) {
      for (let i = 0; i < mix.length; i++) out[i] = mix[i] as number
      return
    }
    const step = (to - from) / (to < from ? attackSamples * channels : mix.length)
    let gain = from
    for (let i = 0; i < mix.length; i++) {
      gain = to < from ? Math.max(to, gain + step) : gain + step
      out[i] = Math.max(-32_768, Math.min(32_767, (mix[i] as number) * gain))
    }
  }
}
