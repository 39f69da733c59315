import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createConnection, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import S3rver from '@20minutes/s3rver'
import type { Test } from 'tap'

// An S3-compatible server (the package @20minutes/s3rver) with a bucket. Tests can cut its connections.

export interface TestBucket {
  /** The server's environment variables for recordings. */
  readonly env: Record<string, string>
  /** Rejects connections until {@link restore} is called. */
  cut (): void
  restore (): void
  /** @returns the keys of all objects */
  keys (): string[]
}

export async function startBucket (t: Test): Promise<TestBucket> {
  const directory = mkdtempSync(join(tmpdir(), 'flylive-s3-'))
  // s3rver computes a wrong signature for requests that list objects, so the signature check of s3rver is turned off
  // here. The tests in test/plugins/blobs check signatures.
  const s3 = new S3rver({ address: '127.0.0.1', port: 0, silent: true, directory, allowMismatchedSignatures: true, configureBuckets: [{ name: 'recordings' }] })
  const { port } = await s3.run()
  let isCut = false
  const sockets = new Set<Socket>()
  const proxy = createServer((near) => {
    if (isCut) return near.resetAndDestroy()
    const far = createConnection(port, '127.0.0.1')
    for (const [from, to] of [[near, far], [far, near]] as const) {
      sockets.add(from)
      from.on('error', () => to.destroy())
      from.on('close', () => {
        sockets.delete(from)
        to.destroy()
      })
      from.pipe(to)
    }
  }).listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  const cutAll = () => { for (const socket of sockets) socket.destroy() }
  t.teardown(() => {
    proxy.close()
    cutAll()
    s3.httpServer.close()
    s3.httpServer.closeAllConnections()
    rmSync(directory, { recursive: true, force: true })
  })
  return {
    env: {
      RECORDING_S3_URL: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}/recordings`,
      RECORDING_S3_ACCESS_KEY_ID: 'S3RVER',
      RECORDING_S3_SECRET_ACCESS_KEY: 'S3RVER'
    },
    cut () {
      isCut = true
      cutAll()
    },
    restore () {
      isCut = false
    },
    keys: () => readdirSync(join(directory, 'recordings'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith('._S3rver_object'))
      .map((entry) => join(entry.parentPath, entry.name).slice(join(directory, 'recordings').length + 1).replace('._S3rver_object', '')).sort()
  }
}
