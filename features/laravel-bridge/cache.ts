import { LRUCache } from 'lru-cache'
import { unavailable } from 'flylive-audio-server/feature'

export interface CacheOptions<V> {
  entries: CacheEntries<V>
  /** Asks for what is not known. */
  load: (key: string) => Promise<V>
  /** How long an answer is taken for true, in milliseconds. */
  freshMs: number
  /** How much longer it is used where no new one can be had, in milliseconds; 0: not at all. */
  staleMs: (value: V) => number
  /** Shorter than `freshMs` for answers that may soon be different. */
  freshFor?: (value: V) => number
  /** Hears each time an old answer is used. */
  usedStale: () => void
  /** Milliseconds, never going back. */
  now: () => number
}

/** The answers of a cache without the code that asks for them, so that they outlive a reload. */
export type CacheEntries<V> = LRUCache<string, Entry<V>, Fetch<V>>

type Fetch<V> = (key: string, stale: Entry<V> | undefined, how: { signal: AbortSignal, options: { ttl?: number | undefined } }) => Promise<Entry<V>>

/** Answers of the backend, each asked for by one call however many want it. */
export interface Cache<V> {
  /**
   * @returns what is known or asked for now, or an older answer where asking fails
   * @throws UNAVAILABLE when neither is there
   */
  get (key: string): Promise<V>
  /** @returns what is known and fresh; asks nobody */
  peek (key: string): V | undefined
  /** @returns what is known even if old, as far as it may be used; asks nobody */
  peekStale (key: string): V | undefined
  /** Forgets an answer; one that is on its way is not believed either. */
  forget (key: string): void
}

/** How long an old answer is used before the backend is asked again, in milliseconds. */
const retryMs = 2000
/** Answers that are overtaken by a change while they are on their way; more in a row is no coincidence. */
const tries = 5

interface Entry<V> {
  value: V
  at: number
}

/** Whether an answer was given up because its key was forgotten while it was on its way. */
const wasForgotten = (error: unknown) => error instanceof Error && error.message === 'deleted'

/**
 * @param max the number of keys that are kept
 * @param now milliseconds, never going back
 */
export function createEntries<V> (max: number, now: () => number): CacheEntries<V> {
  return new LRUCache<string, Entry<V>, Fetch<V>>({
    max,
    // Each answer sets its own.
    ttl: 1,
    ttlResolution: 0,
    perf: { now },
    noDeleteOnStaleGet: true,
    noDeleteOnFetchRejection: true,
    // The context is the function of the cache that fetches.
    fetchMethod: (key, stale, { context, signal, options }) => context(key, stale, { signal, options })
  })
}

export function createCache<V> ({ entries, load, freshMs, staleMs, freshFor = () => freshMs, usedStale, now }: CacheOptions<V>): Cache<V> {
  const usableMs = ({ value, at }: Entry<V>) => at + freshMs + staleMs(value) - now()
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
    if (isStale(entry)) usedStale()
    return entry.value
  }

  return {
    async get (key) {
      let failure: unknown
      for (let i = 0; i < tries; i++) {
        try {
          const entry = await entries.fetch(key, { context: fetch })
          if (entry) return use(entry)
        } catch (error) {
          failure = error
          if (!wasForgotten(error)) break
        }
      }
      throw unavailable('The backend cannot be asked now', failure)
    },
    peek: (key) => entries.peek(key)?.value,
    peekStale (key) {
      const entry = entries.peek(key, { allowStale: true })
      return entry && usableMs(entry) > 0 ? use(entry) : undefined
    },
    forget: (key) => { entries.delete(key) }
  }
}
