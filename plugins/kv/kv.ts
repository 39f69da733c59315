import type { Clock } from '../clock.ts'

/** When a value expires. Without a time it stays until it is deleted. */
export interface Expiry {
  /** In milliseconds from now. */
  ttlMs?: number
  /** Epoch milliseconds. */
  expiresAt?: number
}

/** Values by key. Each method is atomic and one round trip. All throw UNAVAILABLE while the store cannot be reached. */
export interface PlainKeys {
  get (key: string): Promise<string | undefined>
  /** @returns one value per key */
  getMany (keys: readonly string[]): Promise<(string | undefined)[]>
  /** Sets a value and its expiry. The key's earlier expiry no longer applies. */
  set (key: string, value: string, expiry?: Expiry): Promise<void>
  /** @returns whether the key had a value */
  delete (key: string): Promise<boolean>
}

/** The values of one owner. */
export interface Namespace extends PlainKeys {
  /**
   * Sets a value if the current one is the expected one.
   *
   * @param expected undefined if the key must have no value
   * @returns whether the value was set
   */
  compareAndSet (key: string, expected: string | undefined, value: string, expiry?: Expiry): Promise<boolean>
  /** @returns the keys that have a value */
  list (): Promise<string[]>
}

/**
 * Key-value store of all servers. Values survive a crash. They are in Redis or, if Redis is not
 * configured, in a SQLite file.
 */
export interface KeyValue {
  /**
   * @param name starts with the name of the feature or kernel part that owns it
   * @returns the same object for the same name
   */
  namespace (name: string): Namespace
  /**
   * Values that other systems read and write, too. The key in Redis is exactly `prefix + key`. The keys
   * cannot be listed.
   */
  plainKeys (prefix: string): PlainKeys
  close (): void
}

/** @returns epoch milliseconds; undefined if the value does not expire */
export function expiryTime ({ ttlMs, expiresAt }: Expiry = {}, clock: Clock): number | undefined {
  return ttlMs === undefined ? expiresAt : clock.now() + ttlMs
}

/** @returns `create`, called once per name */
export function oncePerName<T> (create: (name: string) => T): (name: string) => T {
  const created = new Map<string, T>()
  return (name) => {
    const known = created.get(name) ?? create(name)
    created.set(name, known)
    return known
  }
}
