import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { Agent, get } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { parsePlaylist } from './hls.ts'
import { startNginx } from './nginx.ts'

// Simulates many players of a broadcast behind the cache in docs/broadcast.md. The players send the same requests as
// hls.js.

const [cachePath = '', location = ''] = [...readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'broadcast.md'), 'utf8').matchAll(/^```nginx\n(.*?)^```/gms)].map(([, block]) => block)

/**
 * Starts nginx with the cache configuration in docs/broadcast.md.
 *
 * @param ports the ports on which the servers listen
 */
export async function startCache (t: Test, ports: readonly number[]): Promise<{ url: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'flylive-cache-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return await startNginx(t, ports, '', (config) => config
    .replace('\nserver {', `\n${cachePath.replace('/var/cache/nginx/hls', join(folder, 'cache'))}\nserver {`)
    .replace('    location / {', `${location.replace('http://127.0.0.1:3030', 'http://audio')}\n    location / {`))
}

export interface Fetched {
  status: number
  body: string
  /** The cache status that nginx reports, such as HIT; undefined without a cache. */
  cache: string | undefined
}

export interface PlayersResult {
  requests: number
  failures: string[]
  /** Response times of the playlist for players without low latency, in milliseconds, sorted. */
  latencies: number[]
  /** Number of responses by cache status (`X-Cache` header). */
  cache: Record<string, number>
}

const segmentMs = 2048

/**
 * Plays a broadcast with many players. Once per segment duration, a player without low latency requests the playlist
 * and the new segments. A player with low latency requests the playlist that lists the next part, then the part. The
 * server responds once the part exists.
 *
 * @param folder URL of the folder with the playlists
 */
export async function play (folder: string, { plain, lowLatency, seconds }: { plain: number, lowLatency: number, seconds: number }): Promise<PlayersResult> {
  const agent = new Agent({ keepAlive: true, maxSockets: Infinity })
  const result: PlayersResult = { requests: 0, failures: [], latencies: [], cache: {} }
  const end = performance.now() + seconds * 1000

  const ask = async (file: string): Promise<Fetched> => await new Promise((resolve, reject) => {
    result.requests++
    get(`${folder}/${file}`, { agent }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () => {
        const cache = response.headers['x-cache'] as string | undefined
        result.cache[cache ?? 'none'] = (result.cache[cache ?? 'none'] ?? 0) + 1
        if (response.statusCode !== 200) result.failures.push(`${response.statusCode} ${file}`)
        resolve({ status: response.statusCode ?? 0, body: file.includes('.m3u8') ? String(Buffer.concat(chunks)) : '', cache })
      })
    }).on('error', reject)
  })
  const pause = async (ms: number) => { if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms)) }

  async function playPlain (i: number): Promise<void> {
    let last = 0
    for (let at = performance.now() + segmentMs * i / plain; at < end; at += segmentMs) {
      await pause(at - performance.now())
      const begin = performance.now()
      const { status, body } = await ask('live.m3u8')
      result.latencies.push(performance.now() - begin)
      if (status !== 200) continue
      const { first, segments } = parsePlaylist(body)
      const newest = first + segments.length - 1
      for (const { uri } of segments.slice(last === 0 ? -1 : Math.max(0, last + 1 - first))) await ask(uri)
      last = newest
    }
  }

  async function playLowLatency (i: number): Promise<void> {
    await pause(segmentMs * i / lowLatency)
    let next = '?'
    while (performance.now() < end) {
      const { status, body } = await ask(`live.m3u8${next}`)
      if (status !== 200) {
        await pause(1000)
        continue
      }
      const { parts } = parsePlaylist(body)
      const uri = parts.at(-1)?.uri ?? ''
      const [, segment = 0, part = 0] = (/-(\d+)\.(\d+)\.m4s$/.exec(uri) ?? []).map(Number)
      next = part === 7 ? `?_HLS_msn=${segment + 1}&_HLS_part=0` : `?_HLS_msn=${segment}&_HLS_part=${part + 1}`
      await ask(uri)
    }
  }

  await Promise.all([
    ...Array.from({ length: plain }, async (_, i) => await playPlain(i)),
    ...Array.from({ length: lowLatency }, async (_, i) => await playLowLatency(i))
  ])
  agent.destroy()
  result.latencies.sort((a, b) => a - b)
  return result
}

/** @returns a counter's sum over its labels, from the text of /metrics */
export function sumOfMetric (text: string, name: string): number {
  return [...text.matchAll(new RegExp(`^${name}(?:\\{.*\\})? ([\\d.e+-]+)$`, 'gm'))].reduce((sum, [, value]) => sum + Number(value), 0)
}
