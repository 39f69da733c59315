/**
 * Measures a tone with Goertzel's algorithm, which computes no sine per sample.
 *
 * @param samples samples of one channel that cover a whole number of the tone's periods
 * @returns the tone's amplitude, in the unit of the samples
 */
export function amplitudeOf (samples: ArrayLike<number>, hz: number, sampleRate: number): number {
  const coefficient = 2 * Math.cos(2 * Math.PI * hz / sampleRate)
  let [last, beforeLast] = [0, 0]
  for (let i = 0; i < samples.length; i++) [last, beforeLast] = [(samples[i] as number) + coefficient * last - beforeLast, last]
  return 2 * Math.sqrt(last ** 2 + beforeLast ** 2 - coefficient * last * beforeLast) / samples.length
}
