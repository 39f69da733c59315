import type { Test } from 'tap'
import { adminKey } from '../../support/build.ts'
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
