import { LRUCache } from 'lru-cache'
import { unavailable, withTimeout } from 'flylive-audio-server/feature'

export interface CacheOptions<V> {
  entries: CacheEntries<V>
  /** Fetches the value of a key. */
  load: (key: string) => Promise<V>
  /** How long a value stays fresh, in milliseconds. */
  freshMs: number
  /**
   * If `load` fails, how long a value can still be used after it is no longer fresh, in milliseconds; 0 disables stale
   * values.
   */
  staleMs: (value: V) => number
  /** Overrides `freshMs` for a single value, in milliseconds. */
  freshFor?: (value: V) => number
  /**
   * If a stale value can be used, the timeout of `load`, in milliseconds. A backend that is down often does not respond
   * at all; without this timeout, every request would fail because it exceeds its deadline.
   */
  timeoutMs?: number
  /** Called each time the cache returns a stale value. */
  onStale: () => void
  /** A monotonic clock, in milliseconds. */
  now: () => number
}

/**
 * The entries of a cache. They are separate from the code that loads them, so that the entries survive a reload of the
 * feature.
 */
export type CacheEntries<V> = LRUCache<string, Entry<V>, Fetch<V>>

type Fetch<V> = (key: string, stale: Entry<V> | undefined, how: { signal: AbortSignal, options: { ttl?: number | undefined } }) => Promise<Entry<V>>

/** Caches responses of the backend. Concurrent reads of a key share one call. */
export interface Cache<V> {
  /**
   * @param hasTimeout if true, `load` has a timeout even if no stale value can be used
   * @returns the fresh value, loaded if necessary; a stale value if `load` fails or is slow
   * @throws UNAVAILABLE if `load` fails and no usable value is cached
   */
  get (key: string, hasTimeout?: boolean): Promise<V>
  /** @returns the value if it is cached and fresh. Never loads a value */
  peek (key: string): V | undefined
  /**
   * Never loads a value.
   *
   * @param isUsed false if the caller only needs to know the value
   * @returns the value if it is cached and usable, even if stale
   */
  peekStale (key: string, isUsed?: boolean): V | undefined
  /**
   * Removes a value. If a load of the value is in flight, the load is restarted, because its result may be outdated.
   */
  invalidate (key: string): void
}

/** How long the cache returns a stale value before it tries again to load a fresh value, in milliseconds. */
const retryMs = 2000
/** The default of {@link CacheOptions.timeoutMs}. */
const defaultTimeoutMs = 2000
/** Maximum number of loads for one read, if the key is invalidated during each load. */
const maxAttempts = 5

interface Entry<V> {
  value: V
  at: number
}

/** True if a load failed only because its key was invalidated during the load. */
const wasInvalidated = (error: unknown) => error instanceof Error && error.message === 'deleted'

/**
 * @param max the maximum number of keys
 * @param now a monotonic clock, in milliseconds
 */
export function createEntries<V> (max: number, now: () => number): CacheEntries<V> {
  return new LRUCache<string, Entry<V>, Fetch<V>>({
    // With `maxSize`, the cache grows on demand; the `max` option would allocate memory for all entries at each start.
    maxSize: max,
    sizeCalculation: () => 1,
    // The default TTL is never used, because each load sets its own TTL.
    ttl: 1,
    ttlResolution: 0,
    perf: { now },
    noDeleteOnStaleGet: true,
    noDeleteOnFetchRejection: true,
    // `context` is the function that loads the value; createCache passes it with each read.
    fetchMethod: (key, stale, { context, signal, options }) => context(key, stale, { signal, options })
  })
}

export function createCache<V> ({ entries, load, freshMs, staleMs, freshFor = () => freshMs, timeoutMs = defaultTimeoutMs, onStale, now }: CacheOptions<V>): Cache<V> {
  const usableMs = ({ value, at }: Entry<V>) => at + freshFor(value) + staleMs(value) - now()
  const isStale = ({ value, at }: Entry<V>) => now() - at > freshFor(value)

  const fetch: Fetch<V> = async (key, stale, { options, signal }) => {
    try {
      const entry = { value: await load(key), at: now() }
      options.ttl = freshFor(entry.value)
      return entry
    } catch (error) {
      if (signal.aborted || !stale || usableMs(stale) < 1) throw error
      options.ttl = Math.min(retryMs, usableMs(stale))
      return stale
    }
  }

  const use = (entry: Entry<V>) => {
    if (isStale(entry)) onStale()
    return entry.value
  }

  /** Returns the cached entry if it can be used, even if stale. */
  function usableEntry (key: string): Entry<V> | undefined {
    const entry = entries.peek(key, { allowStale: true })
    return entry && usableMs(entry) > 0 ? entry : undefined
  }

  /** Returns a fresh entry, or the stale entry if loading a fresh entry takes too long. */
  async function read (key: string, hasTimeout: boolean): Promise<Entry<V> | undefined> {
    const stale = usableEntry(key)
    const loaded = entries.fetch(key, { context: fetch })
    if (stale ? !isStale(stale) : !hasTimeout) return await loaded
    return await withTimeout(loaded, timeoutMs, () => {
      if (!stale) throw new Error(`The backend did not respond within ${timeoutMs} ms`)
      return stale
    })
  }

  return {
    async get (key, hasTimeout = false) {
      let failure: unknown
      for (let i = 0; i < maxAttempts; i++) {
        try {
          const entry = await read(key, hasTimeout)
          if (entry) return use(entry)
        } catch (error) {
          failure = error
          if (!wasInvalidated(error)) break
        }
      }
      throw unavailable('The backend is unavailable', failure)
    },
    peek: (key) => entries.peek(key)?.value,
    peekStale (key, isUsed = true) {
      const entry = usableEntry(key)
      return entry && isUsed ? use(entry) : entry?.value
    },
    invalidate: (key) => { entries.delete(key) }
  }
}
