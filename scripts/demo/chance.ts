/** @returns a random number in [low, high) */
export function between (low: number, high: number): number {
  return low + Math.random() * (high - low)
}

export function oneOf<T> (list: readonly T[]): T {
  const item = list[Math.floor(Math.random() * list.length)]
  if (item === undefined) throw new Error('The list is empty')
  return item
}

/** @returns true with the probability `likelihood`, from 0 to 1 */
export function happens (likelihood: number): boolean {
  return Math.random() < likelihood
}

/** @returns a shuffled copy */
export function shuffled<T> (list: readonly T[]): T[] {
  return list.map((item) => ({ item, at: Math.random() })).sort((a, b) => a.at - b.at).map(({ item }) => item)
}
