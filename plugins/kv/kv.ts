import type { Clock } from '../clock.ts'

/** The namespaces of the kernel: the settings of all features, and the rooms and bans of the memory store. */
export const kernelNamespaces: readonly string[] = ['features', 'rooms', 'bans']

/** The Redis key of a namespace's index. The Redis keys of the namespace's values start with this key. */
export const namespaceKey = (name: string) => `msab:kv:{${name}}`

/** When a value expires. If neither `ttlMs` nor `expiresAt` is set, the value never expires. */
export interface Expiry {
  /** Time until the value expires, in milliseconds. */
  ttlMs?: number
  /** Epoch milliseconds. */
  expiresAt?: number
}

/**
 * Stores values by key. Each method takes one round trip, and all methods except `getMany` are atomic. All methods
 * throw UNAVAILABLE while the store cannot be reached.
 */
export interface PlainKeys {
  get (key: string): Promise<string | undefined>
  /** @returns one entry per key; undefined if the key has no value */
  getMany (keys: readonly string[]): Promise<(string | undefined)[]>
  /** Sets a value and its expiry, replacing any earlier expiry. */
  set (key: string, value: string, expiry?: Expiry): Promise<void>
  /** @returns whether the key had a value */
  delete (key: string): Promise<boolean>
}

/** A namespace: the values of one feature or of one part of the kernel. */
export interface Namespace extends PlainKeys {
  /**
   * Sets a value only if the current value equals `expected`.
   *
   * @param expected the expected current value; undefined if the key must not have a value
   * @returns whether the value was set
   */
  compareAndSet (key: string, expected: string | undefined, value: string, expiry?: Expiry): Promise<boolean>
  /** @returns the keys that have a value */
  list (): Promise<string[]>
}

/**
 * The key-value store that all servers share. Values survive a crash. Values are stored in Redis or, without Redis, in
 * a SQLite file.
 */
export interface KeyValue {
  /**
   * @param name name of the namespace; must start with the name of the feature or kernel part that owns the namespace
   * @returns the namespace; each call with the same name returns the same object
   */
  namespace (name: string): Namespace
  /**
   * Gives access to values that other systems also read and write. The full Redis key of a value is exactly `prefix +
   * key`. The keys cannot be listed.
   */
  plainKeys (prefix: string): PlainKeys
  close (): void
}

/** @returns when the value expires, in epoch milliseconds; undefined if it does not expire */
export function expiryTime ({ ttlMs, expiresAt }: Expiry = {}, clock: Clock): number | undefined {
  return ttlMs === undefined ? expiresAt : clock.now() + ttlMs
}

/** Returns a function that calls `create` once per name and caches the result. */
export function oncePerName<T> (create: (name: string) => T): (name: string) => T {
  const created = new Map<string, T>()
  return (name) => {
    const known = created.get(name) ?? create(name)
    created.set(name, known)
    return known
  }
}
