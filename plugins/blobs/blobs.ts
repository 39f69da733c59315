import type { Readable } from 'node:stream'

export interface BlobInfo {
  key: string
  bytes: number
  /** Epoch milliseconds. */
  modifiedAt: number
}

/**
 * Large values by key: recordings, uploads. A key is a path of names with
 * slashes, such as `recordings/r1/2026-01-31.mp4`; begin it with the feature's
 * name. A name has 1–128 characters of `A–Z a–z 0–9 _ . -` and does not begin
 * with a dot; a key has at most 512 characters. Other keys are rejected with
 * a TypeError.
 */
export interface Blobs {
  /**
   * Stores a stream under a key and replaces an earlier blob. Atomic: readers get
   * the earlier blob or the whole new one, also after a crash. Concurrent puts do not mix.
   *
   * @returns the size in bytes, once the blob is durable
   * @throws what the stream throws; the earlier blob stays
   */
  put (key: string, stream: Readable): Promise<number>
  /**
   * @returns the content, undefined when there is no such blob. Destroy the stream if you do not read it to
   * the end. A blob that is deleted or replaced can still be read to the end
   */
  get (key: string): Promise<Readable | undefined>
  /**
   * Lists the blobs under a prefix, sorted by key.
   *
   * @param prefix a key without its last names: `recordings/r1` lists `recordings/r1/…`; all blobs by default
   */
  list (prefix?: string): Promise<BlobInfo[]>
  /** Idempotent. */
  delete (key: string): Promise<void>
}

const keyPattern = /^(?!.{513})[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}(\/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127})*$/

/**
 * @returns the same key
 * @throws TypeError if it is not a valid key
 */
export function checkedKey (key: string): string {
  if (!keyPattern.test(key)) throw new TypeError(`${JSON.stringify(key)} is not a valid blob key`)
  return key
}
