/** Caches results for a short time. Concurrent reads of a key share one load. */
export interface Cache<V> {
  /**
   * Returns the cached value, or loads it. Failed loads are not cached.
   *
   * @throws any error that `load` throws
   */
  get (key: string, load: () => Promise<V>): Promise<V>
  /** Number of entries, including expired entries. */
  readonly size: number
}

/**
 * @param maxAgeMs how long a cached value can be returned, counted from the start of its load, in milliseconds
 * @param maxEntries maximum number of entries; if there are more, the cache evicts the oldest entries
 */
export function createCache<V> (maxAgeMs: number, maxEntries: number): Cache<V> {
  // Sorted by age, oldest first.
  const entries = new Map<string, { value: Promise<V>, loadedAt: number }>()

  return {
    get size () {
      return entries.size
    },
    get (key, load) {
      const now = performance.now()
      const cached = entries.get(key)
      if (cached && now - cached.loadedAt < maxAgeMs) return cached.value
      entries.delete(key)
      const entry = { value: load(), loadedAt: now }
      entries.set(key, entry)
      if (entries.size > maxEntries) for (const oldest of entries.keys().take(entries.size - maxEntries)) entries.delete(oldest)
      entry.value.catch(() => {
        if (entries.get(key) === entry) entries.delete(key)
      })
      return entry.value
    }
  }
}
