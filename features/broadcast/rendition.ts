import { createCipheriv } from 'node:crypto'
import { sampleRate } from 'flylive-audio-server/fmp4'
import type { Codec, Part } from './part-cutter.ts'
import { comparePositions, partSamples, partsPerSegment, segmentSamples, targetDuration } from './timeline.ts'
import type { PartPosition } from './timeline.ts'

/** Maximum number of complete segments in the playlist. */
const listedSegments = 5
/** Number of segments that players can still request after the playlist no longer lists them. */
const keptSegments = 3
/** For this many complete segments before the current segment, the playlist also lists the parts. */
const segmentsWithParts = 2
/** A request for a segment that is further than this many segments ahead of the current segment is invalid. */
const maxAhead = 2
/** Maximum time that a request waits for a part, in milliseconds. */
const maxHoldMs = 3 * targetDuration * 1000

/** The result of a request. `held` means that the request waited for a part, but the part did not arrive in time. */
export type Answer<T> = { kind: 'found', value: T } | { kind: 'missing' | 'invalid' | 'held' }

interface Segment {
  number: number
  parts: Part[]
  isComplete: boolean
  /** Number of discontinuities in the broadcast up to and including this segment. */
  discontinuities: number
  /** True if the segment begins a new timeline. */
  discontinuity: boolean
  sealed?: Uint8Array
}

export interface RenditionOptions {
  lowLatency: boolean
  /** AES-128 key; absent if the broadcast is not encrypted. */
  key?: Uint8Array | undefined
  /**
   * Initial value of EXT-X-DISCONTINUITY-SEQUENCE. When another server takes over the broadcast, it passes a higher
   * value.
   */
  discontinuities: number
}

/**
 * One rendition of a broadcast: its latest segments with their parts, its playlist, and the requests that wait for
 * parts.
 */
export class Rendition {
  readonly codec: Codec
  readonly #options: RenditionOptions
  readonly #segments: Segment[] = []
  readonly #waiting = new Set<{ position: PartPosition, done: (arrived: boolean) => void }>()
  readonly #playlists = new Map<string, string>()
  #init: Uint8Array | undefined
  #closed = false
  #discontinuities: number

  constructor (codec: Codec, options: RenditionOptions) {
    this.codec = codec
    this.#options = options
    this.#discontinuities = options.discontinuities
  }

  get init (): Uint8Array | undefined {
    return this.#init
  }

  setInit (data: Uint8Array): void {
    this.#init = data
  }

  /** Number of requests that are waiting for a part. */
  get waiting (): number {
    return this.#waiting.size
  }

  add (part: Part): void {
    const last = this.#segments.at(-1)
    const lastPart = last?.parts.at(-1)
    const continues = lastPart !== undefined && part.start === lastPart.start + lastPart.duration
    // If the packager was restarted during a segment, drop the later parts of that segment.
    if (last && (part.segment < last.number || (part.segment === last.number && (!continues || last.isComplete)))) return
    if (last?.number === part.segment) last.parts.push(part)
    else {
      // Clients calculate the number of a segment from its position in the playlist, so the playlist must not skip a
      // segment.
      if (last && part.segment !== last.number + 1) this.#segments.length = 0
      const discontinuity = part.discontinuities === undefined ? !continues : part.discontinuity
      if (last) last.isComplete = true
      this.#discontinuities = part.discontinuities ?? this.#discontinuities + (discontinuity ? 1 : 0)
      this.#segments.push({ number: part.segment, parts: [part], isComplete: false, discontinuity, discontinuities: this.#discontinuities })
    }
    const segment = this.#segments.at(-1) as Segment
    // Servers that copy this part use these values, so that they do not have to count discontinuities.
    Object.assign(part, { discontinuity: segment.discontinuity, discontinuities: segment.discontinuities })
    if (part.part === partsPerSegment - 1) segment.isComplete = true
    while (this.#segments.length > listedSegments + keptSegments + 1) this.#segments.shift()
    this.#playlists.clear()
    const end = this.#end
    for (const wait of [...this.#waiting]) if (comparePositions(wait.position, end) < 0) wait.done(true)
  }

  /** Stops all requests from waiting for a part. */
  close (): void {
    this.#closed = true
    for (const wait of [...this.#waiting]) wait.done(false)
  }

  /** @returns the parts after `position`, oldest first; all parts if `position` is undefined */
  partsAfter (position: PartPosition | undefined): Part[] {
    return this.#segments.flatMap(({ parts }) => parts).filter((part) => !position || comparePositions(part, position) > 0)
  }

  /**
   * Waits until the playlist contains the requested part, then returns the playlist.
   *
   * @param segment the value of `_HLS_msn`; if undefined, the current playlist is returned without waiting for a
   *   particular part
   * @param part the value of `_HLS_part`; if undefined (Safari does not send it), the first part of the segment
   * @param suffix text to append to the URL of the key in the playlist
   */
  async playlist (segment: number | undefined, part: number | undefined, suffix: string, signal: AbortSignal): Promise<Answer<string>> {
    if (segment === undefined && part !== undefined) return { kind: 'invalid' }
    // Wait for the first complete segment, because players cannot start from a playlist without segments.
    while (!this.#segments.some(({ isComplete }) => isComplete)) if (!await this.nextPart(signal)) return { kind: 'held' }
    if (segment !== undefined) {
      const last = this.#segments.at(-1)?.number
      if (last !== undefined && segment > last + maxAhead) return { kind: 'invalid' }
      // If the part number is greater than that of the segment's last part, the request is for the next segment's first
      // part.
      const position = (part ?? 0) >= partsPerSegment ? { segment: segment + 1, part: 0 } : { segment, part: part ?? 0 }
      if (!await this.#arrival(position, signal)) return { kind: 'held' }
    }
    return this.#closed ? { kind: 'missing' } : { kind: 'found', value: this.#cachedPlaylist(suffix) }
  }

  /** @returns whether a new part arrived before the wait timed out or was cancelled */
  async nextPart (signal: AbortSignal): Promise<boolean> {
    return await this.#arrival(this.#end, signal)
  }

  segment (number: number): Answer<Uint8Array> {
    const segment = this.#segments.find((candidate) => candidate.number === number)
    if (!segment?.isComplete) return { kind: 'missing' }
    segment.sealed ??= this.#seal(segment.number, Buffer.concat(segment.parts.map(({ data }) => data)))
    return { kind: 'found', value: segment.sealed }
  }

  /** Returns a part. If the part is the next one, which the playlist has announced, waits until it is complete. */
  async part (position: PartPosition, signal: AbortSignal): Promise<Answer<Uint8Array>> {
    const find = () => this.#segments.find(({ number }) => number === position.segment)?.parts.find(({ part }) => part === position.part)
    if (!find()) {
      const end = this.#end
      if (position.segment !== end.segment || position.part !== end.part) return { kind: 'missing' }
      if (!await this.#arrival(position, signal)) return { kind: 'held' }
    }
    const found = find()
    return found ? { kind: 'found', value: this.#seal(position.segment, found.data) } : { kind: 'missing' }
  }

  /** The position of the next part. */
  get #end (): PartPosition {
    const last = this.#segments.at(-1)
    if (!last) return { segment: 0, part: 0 }
    const part = (last.parts.at(-1)?.part ?? -1) + 1
    return last.isComplete ? { segment: last.number + 1, part: 0 } : { segment: last.number, part }
  }

  /** @returns whether the part arrived before the request timed out or was cancelled */
  async #arrival (position: PartPosition, signal: AbortSignal): Promise<boolean> {
    if (this.#closed || signal.aborted) return false
    if (comparePositions(position, this.#end) < 0) return true
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const cancel = () => done(false)
    const timer = setTimeout(cancel, maxHoldMs)
    const done = (arrived: boolean) => {
      clearTimeout(timer)
      signal.removeEventListener('abort', cancel)
      this.#waiting.delete(wait)
      resolve(arrived)
    }
    const wait = { position, done }
    this.#waiting.add(wait)
    signal.addEventListener('abort', cancel)
    return await promise
  }

  #seal (segment: number, data: Uint8Array): Uint8Array {
    const { key } = this.#options
    if (!key) return data
    const cipher = createCipheriv('aes-128-cbc', key, initialVector(segment))
    return Buffer.concat([cipher.update(data), cipher.final()])
  }

  /** Returns the playlist from the cache, or renders it. */
  #cachedPlaylist (suffix: string): string {
    const cached = this.#playlists.get(suffix)
    if (cached !== undefined) return cached
    const text = this.#render(suffix)
    // The playlist of an encrypted broadcast contains the listener's token, so each listener has a different playlist.
    // The size of the cache is therefore limited; if the cache is full, further playlists are not cached.
    if (this.#playlists.size < 100) this.#playlists.set(suffix, text)
    return text
  }

  #render (suffix: string): string {
    const { lowLatency, key } = this.#options
    const name = this.codec
    const complete = this.#segments.filter(({ isComplete }) => isComplete).slice(-listedSegments)
    const current = this.#segments.at(-1)?.isComplete === false ? this.#segments.at(-1) : undefined
    const listed = lowLatency && current ? [...complete, current] : complete
    const [first] = listed
    const end = this.#end
    const lines = ['#EXTM3U', '#EXT-X-VERSION:9', `#EXT-X-TARGETDURATION:${targetDuration}`]
    const partTarget = this.codec === 'aac' ? partSamples / sampleRate : 0.26
    if (lowLatency) {
      lines.push(
        `#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=${seconds(partTarget * 3 * sampleRate)},HOLD-BACK=${seconds(3 * segmentSamples)}`,
        `#EXT-X-PART-INF:PART-TARGET=${partTarget}`)
    }
    lines.push(`#EXT-X-MEDIA-SEQUENCE:${first?.number ?? end.segment}`)
    lines.push(`#EXT-X-DISCONTINUITY-SEQUENCE:${first ? first.discontinuities - (first.discontinuity ? 1 : 0) : this.#discontinuities}`)
    lines.push(`#EXT-X-MAP:URI="${name}-init.mp4"`)
    for (const segment of listed) {
      const start = segment.parts[0]?.start ?? 0
      if (segment.discontinuity) lines.push('#EXT-X-DISCONTINUITY')
      if (key) lines.push(`#EXT-X-KEY:METHOD=AES-128,URI="key${suffix}",IV=0x${initialVector(segment.number).toString('hex')}`)
      lines.push(`#EXT-X-PROGRAM-DATE-TIME:${new Date(start / sampleRate * 1000).toISOString()}`)
      if (lowLatency && (segment === current || complete.indexOf(segment) >= complete.length - segmentsWithParts)) {
        for (const { part, duration } of segment.parts) lines.push(`#EXT-X-PART:DURATION=${seconds(duration)},URI="${name}-${segment.number}.${part}.m4s",INDEPENDENT=YES`)
      }
      if (segment !== current) lines.push(`#EXTINF:${seconds(segment.parts.reduce((sum, { duration }) => sum + duration, 0))},`, `${name}-${segment.number}.m4s`)
    }
    if (lowLatency) {
      if (key && end.segment !== current?.number) lines.push(`#EXT-X-KEY:METHOD=AES-128,URI="key${suffix}",IV=0x${initialVector(end.segment).toString('hex')}`)
      lines.push(`#EXT-X-PRELOAD-HINT:TYPE=PART,URI="${name}-${end.segment}.${end.part}.m4s"`)
    }
    return `${lines.join('\n')}\n`
  }
}

/** @returns the initialization vector with which a segment and its parts are encrypted: the segment number */
function initialVector (segment: number): Buffer {
  const iv = Buffer.alloc(16)
  iv.writeBigUInt64BE(BigInt(segment), 8)
  return iv
}

const seconds = (samples: number): string => (samples / sampleRate).toFixed(5)
