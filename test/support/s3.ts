import { createHash, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import aws4 from 'aws4'
import type { Test } from 'tap'
import type { S3Options } from '../../plugins/blobs/s3.ts'

export interface TestS3 extends S3Options {
  /** All requests so far. */
  requests (): { method: string, query: string }[]
  /** Makes the next `count` requests fail with the HTTP status `status`. */
  failNext (count: number, status: number): void
}

const credentials = { accessKeyId: 'test-access-key', secretAccessKey: 'test-secret-access-key' }
const region = 'eu-test-1'
/** Maximum number of objects in a list response. S3 lists at most 1000 objects per response, and may list fewer. */
const pageSize = 20
/** Minimum size of every part except the last, as in S3. */
const minPartBytes = 5 * 1024 * 1024

/** Whether the request and its body have a valid signature (Signature Version 4). */
function isSigned (request: IncomingMessage, body: Buffer): boolean {
  const { authorization = '', 'x-amz-content-sha256': digest } = request.headers
  const names = /SignedHeaders=([^,]+)/.exec(authorization)?.[1]?.split(';') ?? []
  const headers = Object.fromEntries(names.map((name) => [name, String(request.headers[name])]))
  const { host = '', ...others } = headers
  const expected = aws4.sign({ service: 's3', region, method: request.method ?? '', path: request.url ?? '', host, headers: { ...others, Host: host }, extraHeadersToInclude: { range: names.includes('range') } } as aws4.Request, credentials).headers?.Authorization
  const signature = (text: unknown) => /Signature=(\w+)/.exec(String(text))?.[1]
  const isIntact = digest === 'UNSIGNED-PAYLOAD' || digest === createHash('sha256').update(body).digest('hex')
  return isIntact && signature(authorization) !== undefined && signature(authorization) === signature(expected)
}

/**
 * Starts a server with an empty in-memory bucket. The server implements the parts of S3 that the S3 driver
 * (plugins/blobs/s3.ts) uses. The server checks signatures, part sizes and part order. The server is stopped after the
 * test.
 */
export async function startS3 (t: Test): Promise<TestS3> {
  const objects = new Map<string, { body: Buffer, at: Date }>()
  const uploads = new Map<string, { key: string, parts: Map<number, Buffer> }>()
  const requests: { method: string, query: string }[] = []
  const failures: number[] = []
  const etag = (body: Buffer) => `"${createHash('md5').update(body).digest('hex')}"`

  function list (query: URLSearchParams): string {
    const prefix = query.get('prefix') ?? ''
    const after = query.get('continuation-token') ?? ''
    const keys = [...objects.keys()].filter((key) => key.startsWith(prefix) && key > after).sort()
    const page = keys.slice(0, pageSize)
    const rest = keys.length > page.length
    const contents = page.map((key) => {
      const { body, at } = objects.get(key) as { body: Buffer, at: Date }
      return `<Contents><Key>${key}</Key><LastModified>${at.toISOString()}</LastModified><ETag>${etag(body)}</ETag><Size>${body.length}</Size></Contents>`
    })
    return `<ListBucketResult><KeyCount>${page.length}</KeyCount><IsTruncated>${rest}</IsTruncated>${rest ? `<NextContinuationToken>${page.at(-1)}</NextContinuationToken>` : ''}${contents.join('')}</ListBucketResult>`
  }

  function complete (uploadId: string, text: string): boolean {
    const upload = uploads.get(uploadId)
    const numbers = [...text.matchAll(/<PartNumber>(\d+)<\/PartNumber>/g)].map(([, number]) => Number(number))
    const bodies = numbers.map((number) => upload?.parts.get(number))
    const isValid = numbers.every((number, i) => number === i + 1) && bodies.every((body, i) => body && (i === bodies.length - 1 || body.length >= minPartBytes))
    if (!upload || !isValid) return false
    objects.set(upload.key, { body: Buffer.concat(bodies as Buffer[]), at: new Date() })
    return uploads.delete(uploadId)
  }

  function answer (request: IncomingMessage, body: Buffer): { status: number, text?: string | Buffer, headers?: Record<string, string> } {
    const { pathname, searchParams: query } = new URL(request.url ?? '/', 'http://s3')
    requests.push({ method: String(request.method), query: query.toString() })
    const failure = failures.shift()
    if (failure !== undefined) return { status: failure }
    if (!isSigned(request, body)) return { status: 403, text: '<Error><Code>SignatureDoesNotMatch</Code></Error>' }
    const [, bucket, ...rest] = pathname.split('/')
    if (bucket !== 'bucket') return { status: 404, text: '<Error><Code>NoSuchBucket</Code></Error>' }
    const key = rest.join('/')
    const uploadId = query.get('uploadId') ?? ''
    switch (request.method) {
      case 'GET': {
        if (key === '') return { status: 200, text: list(query) }
        const found = objects.get(key)
        const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []
        if (found && first !== undefined) return { status: 206, text: found.body.subarray(Number(first), Number(last) + 1), headers: { etag: etag(found.body) } }
        return found ? { status: 200, text: found.body, headers: { etag: etag(found.body) } } : { status: 404, text: '<Error><Code>NoSuchKey</Code></Error>' }
      }
      case 'PUT':
        if (uploadId === '') objects.set(key, { body, at: new Date() })
        else uploads.get(uploadId)?.parts.set(Number(query.get('partNumber')), body)
        return { status: 200, headers: { etag: etag(body) } }
      case 'POST': {
        if (query.has('uploads')) {
          const id = randomUUID()
          uploads.set(id, { key, parts: new Map() })
          return { status: 200, text: `<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>` }
        }
        const done = complete(uploadId, String(body))
        return done
          ? { status: 200, text: `<CompleteMultipartUploadResult><Location>x</Location><Bucket>bucket</Bucket><Key>${key}</Key><ETag>"x"</ETag></CompleteMultipartUploadResult>` }
          : { status: 400, text: '<Error><Code>InvalidPart</Code></Error>' }
      }
      case 'DELETE':
        if (uploadId === '') objects.delete(key)
        else uploads.delete(uploadId)
        return { status: 204 }
      default:
        return { status: 405 }
    }
  }

  const server = createServer((request, response) => {
    buffer(request).then((body) => {
      const { status, text, headers } = answer(request, body)
      response.writeHead(status, headers).end(text)
    }, () => response.destroy())
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return {
    ...credentials,
    region,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/bucket`,
    requests: () => requests,
    failNext (count, status) {
      failures.push(...Array<number>(count).fill(status))
    }
  }
}
