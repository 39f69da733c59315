/** Answers that are good for a moment, for all who ask meanwhile. */
export interface Cache<V> {
  /**
   * The answer to a key, asked for when none is young enough. What fails is not kept.
   *
   * @throws what asking for it throws
   */
  get (key: string, ask: () => Promise<V>): Promise<V>
  /** Answers that are kept, those included that are too old by now. */
  readonly size: number
}

/**
 * @param maxAgeMs how long an answer is good, counted from when it was asked for
 * @param most answers that are kept; the oldest go
 */
export function createCache<V> (maxAgeMs: number, most: number): Cache<V> {
  // Insertion order is the order in which they were asked for.
  const answers = new Map<string, { answer: Promise<V>, askedAt: number }>()

  return {
    get size () {
      return answers.size
    },
    get (key, ask) {
      const now = performance.now()
      const known = answers.get(key)
      if (known && now - known.askedAt < maxAgeMs) return known.answer
      answers.delete(key)
      const entry = { answer: ask(), askedAt: now }
      answers.set(key, entry)
      if (answers.size > most) for (const oldest of answers.keys().take(answers.size - most)) answers.delete(oldest)
      entry.answer.catch(() => {
        if (answers.get(key) === entry) answers.delete(key)
      })
      return entry.answer
    }
  }
}
