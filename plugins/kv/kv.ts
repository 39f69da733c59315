import type { Clock } from '../clock.ts'

/** The namespaces of the kernel: the settings of all features, and the rooms and bans of the memory store. */
export const kernelNamespaces: readonly string[] = ['features', 'rooms', 'bans']

/** The Redis key of a namespace's index. The Redis keys of the namespace's values start with this key. */
export const namespaceKey = (name: string) => `msab:kv:{${name}}`

/** When a value expires. If neither field is set, the value stays until it is deleted. */
export interface Expiry {
  /** In milliseconds from now. */
  ttlMs?: number
  /** Epoch milliseconds. */
  expiresAt?: number
}

/**
 * Values by key. Each method takes one round trip, and all except `getMany` are atomic. All methods throw UNAVAILABLE
 * while the store cannot be reached.
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

/** The values of one feature or one part of the kernel. */
export interface Namespace extends PlainKeys {
  /**
   * Sets a value only if the current value equals `expected`.
   *
   * @param expected undefined means that the key must not have a value
   * @returns whether the value was set
   */
  compareAndSet (key: string, expected: string | undefined, value: string, expiry?: Expiry): Promise<boolean>
  /** @returns the keys that have a value */
  list (): Promise<string[]>
}

/**
 * The key-value store that all servers share. Values survive a crash. They are stored in Redis or, without Redis, in a
 * SQLite file.
 */
export interface KeyValue {
  /**
   * @param name starts with the name of the feature or kernel part that owns the namespace
   * @returns the same object for the same name
   */
  namespace (name: string): Namespace
  /**
   * Gives access to values that other systems also read and write. A value's full Redis key is exactly `prefix + key`.
   * The keys cannot be listed.
   */
  plainKeys (prefix: string): PlainKeys
  close (): void
}

/** @returns when the value expires, epoch milliseconds; undefined if it does not expire */
export function expiryTime ({ ttlMs, expiresAt }: Expiry = {}, clock: Clock): number | undefined {
  return ttlMs === undefined ? expiresAt : clock.now() + ttlMs
}

/** Caches the results of `create`, so that `create` is called once per name. */
export function oncePerName<T> (create: (name: string) => T): (name: string) => T {
  const created = new Map<string, T>()
  return (name) => {
    const known = created.get(name) ?? create(name)
    created.set(name, known)
    return known
  }
}
