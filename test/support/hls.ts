import type { Page } from 'playwright-core'
import { until } from './retry.ts'

// Reads HLS playlists and fragmented MP4, and measures the audio of a player.

export interface Listed {
  uri: string
  /** In seconds. */
  duration: number
}

export interface Playlist {
  /** Number of the first segment. */
  first: number
  discontinuitySequence: number
  targetDuration: number
  segments: Listed[]
  parts: Listed[]
  /** Number of the last listed segment, complete or not. */
  last: number
}

/** @throws if the text is not a media playlist */
export function parsePlaylist (text: string): Playlist {
  if (!text.startsWith('#EXTM3U\n')) throw new Error(`Not a playlist: ${text}`)
  const value = (tag: string) => {
    const found = new RegExp(`^#EXT-X-${tag}:(\\d+)$`, 'm').exec(text)?.[1]
    if (found === undefined) throw new Error(`The playlist has no ${tag}`)
    return Number(found)
  }
  const segments = [...text.matchAll(/^#EXTINF:([\d.]+),\n(.+)$/gm)].map(([, duration, uri]) => ({ uri: String(uri), duration: Number(duration) }))
  const parts = [...text.matchAll(/^#EXT-X-PART:DURATION=([\d.]+),URI="([^"]+)"/gm)].map(([, duration, uri]) => ({ uri: String(uri), duration: Number(duration) }))
  const first = value('MEDIA-SEQUENCE')
  return {
    first,
    discontinuitySequence: value('DISCONTINUITY-SEQUENCE'),
    targetDuration: value('TARGETDURATION'),
    segments,
    parts,
    last: Math.max(first + segments.length - 1, ...parts.map(({ uri }) => Number(/-(\d+)\./.exec(uri)?.[1])))
  }
}

/** A movie fragment. Times are in samples at 48 kHz. */
export interface Fragment {
  start: number
  duration: number
  frames: number
}

/** @returns the fragments of a segment or part */
export function fragmentsOf (data: Buffer): Fragment[] {
  const found: Fragment[] = []
  for (let at = 0; at < data.length; at += data.readUInt32BE(at)) {
    if (data.toString('latin1', at + 4, at + 8) !== 'moof') continue
    const tfdt = data.indexOf('tfdt', at)
    const trun = data.indexOf('trun', at)
    const frames = data.readUInt32BE(trun + 8)
    const duration = Array.from({ length: frames }, (_, i) => data.readUInt32BE(trun + 16 + i * 8)).reduce((sum, value) => sum + value, 0)
    found.push({ start: Number(data.readBigUInt64BE(tfdt + 8)), duration, frames })
  }
  return found
}

/** Fetches a broadcast's files. */
export function hlsClient (folder: string) {
  const get = async (file: string) => {
    const response = await fetch(`${folder}/${file}`)
    return { status: response.status, headers: response.headers, body: Buffer.from(await response.arrayBuffer()) }
  }
  /** Repeats a request while the response is 503, as players do. */
  const getLater = async (file: string) => await until(async () => {
    const answer = await get(file)
    return answer.status !== 503 && answer
  }, 60_000)
  return {
    get,
    getLater,
    text: async (file: string) => String((await get(file)).body),
    playlist: async (file: string) => parsePlaylist(String((await getLater(file)).body))
  }
}

declare global {
  interface Window {
    /** Analyses the audio element of the page; see {@link playedFrequency}. */
    ear?: AnalyserNode
  }
}

/**
 * Measures the strongest frequency in 0.7 s of the page's audio element, accurate to within 1 Hz.
 *
 * @returns the frequency in hertz; 0 if the element is silent
 */
export async function playedFrequency (page: Page): Promise<number> {
  return await page.evaluate(async () => {
    if (!window.ear) {
      const context = new AudioContext()
      window.ear = new AnalyserNode(context, { fftSize: 32_768, smoothingTimeConstant: 0 })
      context.createMediaElementSource(document.querySelector('audio') as HTMLAudioElement).connect(window.ear).connect(context.destination)
    }
    const { ear } = window
    await new Promise((resolve) => setTimeout(resolve, 1000 * ear.fftSize / ear.context.sampleRate))
    const levels = new Float32Array(ear.frequencyBinCount)
    ear.getFloatFrequencyData(levels)
    const peak = levels.reduce((best, level, bin) => level > (levels[best] as number) ? bin : best, 1)
    const [before = 0, top = 0, after = 0] = levels.slice(peak - 1, peak + 2)
    if (top < -80) return 0
    // The true peak lies between the bins; interpolate with a parabola through three bins.
    const offset = (before - after) / (2 * (before - 2 * top + after))
    return (peak + offset) * ear.context.sampleRate / ear.fftSize
  })
}
