import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'
import type { TestBucket } from '../../support/bucket.ts'
import { adminKey } from '../../support/build.ts'
import { featureFolder } from '../../support/features.ts'
import { decodeFile, toneOf } from '../../support/recordings.ts'

export interface Detail { endedAt: number | null, reason?: string, seconds: number, files: { name: string, kind: string, bytes: number, seconds: number }[], timeline: unknown[] }

async function read (url: string, path: string, headers: Record<string, string> = {}): Promise<Buffer> {
  const response = await fetch(`${url}/admin/recordings/${path}`, { headers: { authorization: `Bearer ${adminKey}`, ...headers } })
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
  return Buffer.from(await response.arrayBuffer())
}
export const detailOf = async (url: string, id: string) => JSON.parse(String(await read(url, id))) as Detail

/**
 * Checks that each file of a recording has no gaps, contains the tone and is as long as the index says.
 *
 * @returns the length of the shortest file, in seconds
 */
export async function check (t: Test, url: string, id: string, hz: number): Promise<number> {
  let shortest = Infinity
  for (const { name, bytes, seconds } of (await detailOf(url, id)).files) {
    const data = await read(url, `${id}/${name}`)
    t.equal(data.length, bytes)
    t.ok((await read(url, `${id}/${name}`, { range: 'bytes=100-199' })).equals(data.subarray(100, 200)))
    const file = await decodeFile(data)
    t.equal(file.gaps, 0)
    t.ok(Math.abs(file.seconds - seconds) < 0.001)
    // The tone begins some time after the start of the recording, so skip the first second.
    const tone = toneOf(file.samples.subarray(48_000))
    t.ok(Math.abs(tone - hz) < 1, `${name}: ${tone} Hz`)
    shortest = Math.min(shortest, seconds)
  }
  return shortest
}

/**
 * Starts an HTTP proxy before a bucket.
 *
 * @param pass called before each request; the proxy then forwards the request if the result is true, and otherwise
 *   responds with 503
 * @returns the URL of the bucket through the proxy
 */
export async function startBucketProxy (t: Test, bucket: TestBucket, pass: (method: string, path: string) => boolean | Promise<boolean>): Promise<string> {
  const { port } = new URL(String(bucket.env['RECORDING_S3_URL']))
  const proxy = createServer((near, response) => {
    const { method = '', url = '', headers } = near
    const forward = async () => {
      if (!await pass(method, url)) {
        near.resume()
        return response.writeHead(503).end()
      }
      const far = request({ host: '127.0.0.1', port, method, path: url, headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 500, answer.headers)
        answer.pipe(response)
      })
      far.on('error', () => response.destroy())
      near.pipe(far)
    }
    forward().catch(() => response.destroy())
  }).listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  t.teardown(() => {
    proxy.close()
    proxy.closeAllConnections()
  })
  return `http://127.0.0.1:${(proxy.address() as AddressInfo).port}/recordings`
}

export interface Finished { recordingId: string, endedAt: number, reason?: string }

/**
 * Writes the feature `witness`, which handles `recording:finished`. A server unloads the feature before the feature
 * `recording`.
 *
 * @param handle receives the records. Servers with the same `handle` share it
 * @returns the server's environment variables
 */
export function witness (t: Test, handle: (record: Finished) => unknown): Record<string, string> {
  const name = `flyliveFinished${randomUUID()}`
  Object.assign(globalThis, { [name]: handle })
  t.teardown(() => { Reflect.deleteProperty(globalThis, name) })
  const folder = featureFolder(t)
  folder.write('witness', {
    'index.ts': `import { defineFeature } from 'flylive-audio-server/feature'
export default defineFeature(async (app) => {
  app.hooks.on('recording:finished', async (_roomId, record) => { await globalThis['${name}'](record) })
}, { name: 'witness', dependencies: ['recording'] })
`
  })
  return { FEATURES: 'auth,media,recording,witness', FEATURES_PATH: folder.path }
}
