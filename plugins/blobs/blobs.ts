import type { Readable } from 'node:stream'

export interface BlobInfo {
  key: string
  bytes: number
  /** Epoch milliseconds. */
  modifiedAt: number
}

/** A range of bytes; both ends are included. */
export interface ByteRange {
  first: number
  last: number
}

/**
 * Stores large values, such as recordings, by key. A key is a path of segments separated
 * by slashes, such as `recordings/r1/2026-01-31.mp4`. The first segment is the
 * feature's name. A segment has 1–128 characters of `A–Z a–z 0–9 _ . -` and does not begin
 * with a dot; a key has at most 512 characters. Other keys are rejected with
 * a TypeError.
 */
export interface Blobs {
  /**
   * Stores a stream under a key, replacing any existing blob. Atomic: readers get either the old blob or the complete
   * new blob, even after a crash. Concurrent calls never mix their data.
   *
   * @returns the size in bytes; resolves when the blob is durable
   * @throws the error of the stream. An existing blob then stays unchanged
   */
  put (key: string, stream: Readable): Promise<number>
  /**
   * @returns a stream of the content; undefined if the blob does not exist. Destroy the stream if you do not read it to
   *   the end. An open stream stays readable after its blob is deleted or replaced
   * @param range the first and last bytes to read, counted from 0; both must be in the blob. Default: the whole blob
   */
  get (key: string, range?: ByteRange): Promise<Readable | undefined>
  /**
   * Lists the blobs under a prefix, sorted by key.
   *
   * @param prefix the leading path segments of a key: `recordings/r1` lists `recordings/r1/…`. Default: all blobs
   */
  list (prefix?: string): Promise<BlobInfo[]>
  /** Does nothing if the blob does not exist. */
  delete (key: string): Promise<void>
}

const keyPattern = /^(?!.{513})[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}(\/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127})*$/

/**
 * @returns the key, unchanged
 * @throws TypeError if the key is not valid
 */
export function checkedKey (key: string): string {
  if (!keyPattern.test(key)) throw new TypeError(`${JSON.stringify(key)} is not a valid blob key`)
  return key
}
