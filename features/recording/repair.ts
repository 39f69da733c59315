import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { durationField, durationOffset, fragment, sampleRate } from 'flylive-audio-server/fmp4'
import { minSamples, silenceFor } from './packets.ts'
import { fileStart } from './track.ts'

/** Size and duration of the complete fragments of a file. */
export interface Extent {
  /** Size in bytes; 0 if the file has no complete fragment. */
  bytes: number
  seconds: number
}

/** Maximum size of a `moof` box that this server writes, in bytes. */
const maxMoofBytes = 1024 * 1024

/** @returns the time at which a fragment ends, in samples */
function endOf (moof: Buffer): number {
  const tfdt = moof.indexOf('tfdt')
  const trun = moof.indexOf('trun')
  if (tfdt < 0 || trun < 0) return 0
  let end = Number(moof.readBigUInt64BE(tfdt + 8))
  const count = moof.readUInt32BE(trun + 8)
  for (let i = 0; i < count; i++) end += moof.readUInt32BE(trun + 16 + i * 8)
  return end
}

/** Returns the size and duration of a file's complete fragments. The file may end in the middle of a fragment. */
async function extentOf (file: FileHandle): Promise<Extent & { fragments: number }> {
  const { size } = await file.stat()
  const header = Buffer.alloc(8)
  let [bytes, end, at, fragmentEnd, fragments] = [0, 0, fileStart.length, 0, 0]
  while (at + header.length <= size) {
    await file.read(header, 0, header.length, at)
    const boxBytes = header.readUInt32BE(0)
    const type = header.toString('latin1', 4)
    if (boxBytes < header.length || at + boxBytes > size) break
    if (type === 'moof' && boxBytes <= maxMoofBytes) {
      const moof = Buffer.alloc(boxBytes)
      await file.read(moof, 0, boxBytes, at)
      fragmentEnd = endOf(moof)
    } else if (type !== 'mdat') break
    at += boxBytes
    if (type === 'mdat') [bytes, end, fragments] = [at, fragmentEnd, fragments + 1]
  }
  return { bytes, seconds: end / sampleRate, fragments }
}

/**
 * @returns fragments with silence for the time between `from` and `until` (in samples), each about a minute long at
 *   most
 */
function silence (from: number, until: number, fragments: number): Buffer[] {
  const parts: Buffer[] = []
  for (let at = from; until - at >= minSamples;) {
    const start = at
    const frames = []
    while (until - at >= minSamples && at - start < 60 * sampleRate) {
      const frame = silenceFor(until - at)
      frames.push(frame)
      at += frame.duration
    }
    parts.push(fragment(fragments + parts.length + 1, start, frames, 'file'))
  }
  return parts
}

/**
 * Completes a file: removes an incomplete fragment at the end, appends silence, writes the duration, and flushes the
 * file to disk. Idempotent.
 *
 * @param path the path of a file that {@link Mp4Track} has written. The file may end in the middle of a fragment
 * @param minSeconds minimum duration. A shorter file is extended with silence, unless the file has no complete fragment
 */
export async function complete (path: string, minSeconds = 0): Promise<Extent> {
  const file = await open(path, 'r+')
  try {
    if (!(await file.stat()).isFile()) return { bytes: 0, seconds: 0 }
    const { bytes, seconds, fragments } = await extentOf(file)
    await file.truncate(bytes)
    if (bytes === 0) return { bytes, seconds: 0 }
    let size = bytes
    for (const part of silence(Math.round(seconds * sampleRate), Math.round(minSeconds * sampleRate), fragments)) {
      await file.write(part, 0, part.length, size)
      size += part.length
    }
    const completed = size > bytes ? await extentOf(file) : { bytes, seconds }
    await file.write(durationField(Math.round(completed.seconds * sampleRate)), 0, 8, durationOffset(fileStart))
    await file.sync()
    return { bytes: completed.bytes, seconds: completed.seconds }
  } finally {
    await file.close()
  }
}
