import { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { S3mini } from 's3mini'
import type { UploadPart } from 's3mini'
import { afterReading } from '../errors/timeout.ts'
import { checkedKey } from './blobs.ts'
import type { Blobs } from './blobs.ts'

export interface S3Options {
  /** URL of the bucket: `https://host/bucket`, or `https://bucket.host`. */
  url: string
  region: string
  accessKeyId: string
  secretAccessKey: string
}

/** Size of each part of a large blob, in bytes. S3 requires at least 5 MiB for all but the last part. */
const partBytes = 8 * 1024 * 1024
/** How long to wait for the headers of a response, in milliseconds. */
const timeoutMs = 30_000
/** Maximum attempts per request. The delay between attempts doubles each time. */
const attempts = 4
const firstDelayMs = 200

/**
 * Sends a request to S3. Retries after a connection error, a timeout, or a 429 or 5xx status. All requests are
 * idempotent, except the request that starts a multipart upload: a retry of this request may start a second upload. The
 * unused upload stays in the bucket until a lifecycle rule removes the upload (docs/deployment.md).
 */
async function fetchWithRetries (url: string | URL | Request, init: RequestInit = {}): Promise<Response> {
  for (let attempt = 1; ; attempt++) {
    const abort = new AbortController()
    const cancelTimer = afterReading(timeoutMs, () => abort.abort(new Error(`S3 did not respond within ${timeoutMs} ms`)))
    try {
      const response = await fetch(url, { ...init, signal: abort.signal })
      if (attempt === attempts || (response.status < 500 && response.status !== 429)) return response
      await response.body?.cancel()
    } catch (error) {
      if (attempt === attempts) throw error
    } finally {
      cancelTimer()
    }
    await delay(firstDelayMs * 2 ** (attempt - 1))
  }
}

/** Splits a stream into buffers of {@link partBytes}; the last buffer may be smaller. */
async function * partsOf (stream: Readable): AsyncGenerator<Buffer, void, undefined> {
  let chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of stream) {
    const buffer = Buffer.from(chunk as Buffer | string)
    chunks.push(buffer)
    bytes += buffer.length
    while (bytes >= partBytes) {
      const whole = Buffer.concat(chunks)
      yield whole.subarray(0, partBytes)
      const rest = whole.subarray(partBytes)
      chunks = [rest]
      bytes = rest.length
    }
  }
  yield Buffer.concat(chunks)
}

/**
 * Stores blobs in a bucket on S3 or a compatible service. A large blob is uploaded in parts of {@link partBytes}. At
 * any time, at most two parts of an upload are in memory.
 */
export function createS3Blobs ({ url, region, accessKeyId, secretAccessKey }: S3Options): Blobs {
  const bucket = new S3mini({ endpoint: url, region, accessKeyId, secretAccessKey, fetch: fetchWithRetries })

  async function putParts (key: string, parts: AsyncIterable<Buffer>): Promise<number> {
    const uploadId = await bucket.getMultipartUploadId(key)
    const uploaded: UploadPart[] = []
    let bytes = 0
    try {
      for await (const part of parts) {
        if (part.length === 0 && uploaded.length > 0) continue
        uploaded.push(await bucket.uploadPart(key, uploadId, part, uploaded.length + 1))
        bytes += part.length
      }
      await bucket.completeMultipartUpload(key, uploadId, uploaded)
      return bytes
    } catch (error) {
      await bucket.abortMultipartUpload(key, uploadId).catch(() => { /* A lifecycle rule on the bucket should remove the incomplete upload. */ })
      throw error
    }
  }

  return {
    async put (key, stream) {
      checkedKey(key)
      const parts = partsOf(stream)
      const first = (await parts.next()).value ?? Buffer.alloc(0)
      if (first.length < partBytes) {
        await bucket.putObject(key, first)
        return first.length
      }
      return await putParts(key, (async function * () {
        yield first
        yield * parts
      })())
    },
    async get (key, range) {
      checkedKey(key)
      const response = range
        ? await bucket.getObjectRaw(key, false, range.first, range.last + 1).catch((error: unknown) => {
          if ((error as { status?: number }).status === 404) return undefined
          throw error
        })
        : await bucket.getObjectResponse(key)
      return response?.body ? Readable.fromWeb(response.body as never) : undefined
    },
    async list (prefix) {
      const found = await bucket.listObjects('/', prefix === undefined ? '' : `${checkedKey(prefix)}/`)
      // For an empty bucket, the list is empty; null means that the bucket does not exist.
      if (!found) throw new Error(`S3 bucket ${url} does not exist`)
      return found
        .map(({ Key, Size, LastModified }) => ({ key: Key, bytes: Number(Size), modifiedAt: new Date(LastModified).getTime() }))
        .sort((a, b) => a.key < b.key ? -1 : 1)
    },
    async delete (key) {
      await bucket.deleteObject(checkedKey(key))
    }
  }
}
