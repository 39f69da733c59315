import { codecNames, sampleRate } from 'flylive-audio-server/fmp4'
import type { Codec, Part } from './part-cutter.ts'
import { Rendition } from './rendition.ts'
import type { RenditionOptions } from './rendition.ts'
import { partSamples, segmentSamples } from './timeline.ts'

export const codecs: readonly Codec[] = ['aac', 'opus']

/**
 * The age of a broadcast is divided by this duration (in milliseconds) to obtain the initial discontinuity sequence
 * number of a new window.
 */
const discontinuityMs = 4000

/**
 * Returns the initial discontinuity sequence number of a window. The number must be small, because hls.js creates
 * arrays of that length.
 *
 * @param startedAt when the broadcast started, in epoch milliseconds
 * @returns a number that is higher than the discontinuity sequence numbers of earlier windows of the broadcast
 */
export const firstDiscontinuity = (startedAt: number): number => Math.max(0, Math.floor((Date.now() - startedAt) / discontinuityMs))

export interface WindowOptions extends RenditionOptions {
  /** Whether to offer Opus as a second rendition. */
  opus: boolean
  /** When the broadcast started, in epoch milliseconds. Distinguishes the broadcasts of a room. */
  startedAt: number
}

/** The latest segments of one broadcast, in all renditions. They are kept in memory. */
export class BroadcastWindow {
  readonly options: WindowOptions
  readonly renditions: ReadonlyMap<Codec, Rendition>
  /** The value of `performance.now()` when a player last requested a playlist. */
  lastRequest = performance.now()
  readonly #requests = new RequestRates()
  /** If this window is a copy of another server's window: the active speakers on that server. */
  speaking: readonly (string | number)[] = []

  constructor (options: WindowOptions) {
    this.options = options
    this.renditions = new Map(codecs.filter((codec) => codec === 'aac' || options.opus).map((codec) => [codec, new Rendition(codec, options)]))
  }

  /** Counts a request for a playlist. */
  countRequest (isBlocking: boolean): void {
    this.lastRequest = performance.now()
    this.#requests.add(isBlocking)
  }

  /**
   * Estimated number of players whose requests reach this server. The estimate is based on the number of playlist
   * requests: a player requests a playlist once per segment or, with low latency, once per part. Players behind a cache
   * are not counted.
   */
  get listeners (): number {
    const { plain, blocking } = this.#requests.perSecond()
    return Math.round(plain * segmentSamples / sampleRate + blocking * partSamples / sampleRate)
  }

  setInit (codec: Codec, data: Uint8Array): void {
    this.renditions.get(codec)?.setInit(data)
  }

  add (part: Part): void {
    this.renditions.get(part.codec)?.add(part)
  }

  /** @param suffix text to append to the URLs of the playlists */
  master (suffix: string): string {
    const lines = ['#EXTM3U', '#EXT-X-VERSION:9', '#EXT-X-INDEPENDENT-SEGMENTS']
    // AAC is first, because players start with the first variant and some players do not support Opus.
    for (const codec of this.renditions.keys()) {
      const [bandwidth, name] = codec === 'aac' ? [64_000, 'live'] : [72_000, 'opus']
      lines.push(`#EXT-X-STREAM-INF:BANDWIDTH=${bandwidth},CODECS="${codecNames[codec]}"`, `${name}.m3u8${suffix}`)
    }
    return `${lines.join('\n')}\n`
  }

  /** Number of requests that are waiting for a part. */
  get waiting (): number {
    return this.renditions.values().reduce((sum, { waiting }) => sum + waiting, 0)
  }

  /** Stops all requests from waiting for a part. */
  close (): void {
    for (const rendition of this.renditions.values()) rendition.close()
  }
}

/** The numbers of requests in one second. `second` identifies this second by the seconds since the process started. */
interface Count { second: number, plain: number, blocking: number }

const countedSeconds = 4

/** Counts the requests of each second, for the last {@link countedSeconds} seconds. */
class RequestRates {
  #counts: Count[] = []

  add (isBlocking: boolean): void {
    const second = Math.floor(performance.now() / 1000)
    let count = this.#counts.at(-1)
    if (count?.second !== second) {
      count = { second, plain: 0, blocking: 0 }
      this.#counts = [...this.#counts.slice(-countedSeconds), count]
    }
    count[isBlocking ? 'blocking' : 'plain']++
  }

  /** @returns the number of requests per second, averaged over the last {@link countedSeconds} complete seconds */
  perSecond (): { plain: number, blocking: number } {
    const now = Math.floor(performance.now() / 1000)
    const counts = this.#counts.filter(({ second }) => second < now && second >= now - countedSeconds)
    const mean = (kind: 'plain' | 'blocking') => counts.reduce((sum, count) => sum + count[kind], 0) / countedSeconds
    return { plain: mean('plain'), blocking: mean('blocking') }
  }
}
