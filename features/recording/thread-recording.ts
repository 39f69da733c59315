import { closeSync, openSync, statfsSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { sampleRate } from 'flylive-audio-server/fmp4'
import type { OpenOptions, RecordedFile } from './thread-messages.ts'
import { samplesOf } from './packets.ts'
import { Mp4Track } from './track.ts'
import { VoiceClock } from './voice-clock.ts'

/** A frame of a room's mix or of a voice. Timestamps are in samples at 48 kHz since the mix was opened. */
export type MixInput =
  { kind: 'packet', timestamp: number, payload: Uint8Array } |
  { kind: 'voice', producerId: string, userId: string | number, source: 'voice' | 'music', timestamp: number, sequenceNumber: number, rtpTimestamp: number, payload: Uint8Array }
type VoicePacket = Extract<MixInput, { kind: 'voice' }>

export const timelineName = 'timeline.jsonl'
/** Duration of each packet of the mix, in samples. */
const mixSamples = 960
/**
 * How long voice packets are held in memory before they are written to a file, in samples. During this time, the
 * recorder sorts the packets and measures their delay.
 */
const holdSamples = sampleRate / 2
/**
 * Silence is written to a voice file only after this delay, in samples, so that the silence does not replace late
 * packets.
 */
const silenceDelay = 5 * sampleRate
/**
 * Time from the arrival of a packet until its audio is in the mix, in samples. The mixer buffers two packets, and the
 * encoder adds a delay.
 */
const mixDelay = 2640
/** If a producer has sent nothing for this long (in samples), the user's next producer continues the same file. */
const reuseSamples = sampleRate
/** Maximum number of voice files. Additional voices are recorded only in the mix. */
const maxVoiceFiles = 200
/** Maximum size of the timeline, in bytes. */
const maxTimelineBytes = 32 * 1024 * 1024

interface VoiceFile {
  info: Pick<RecordedFile, 'name' | 'kind' | 'userId' | 'source'>
  track: Mp4Track
  producerId: string
  clock: VoiceClock
  /** Packets that have not been written to the file yet, each with its extended timestamp and arrival time. */
  held: { rtp: number, arrival: number, payload: Uint8Array }[]
  lastArrival: number
}

/** A recording in the recorder thread. Methods that access files throw file system errors. */
export class ThreadRecording {
  readonly #options: OpenOptions
  readonly #mix: Mp4Track
  readonly #voices: VoiceFile[] = []
  readonly #timelineFd: number
  /** The offset that is added to a timestamp of the mix to get the time in the recording, in samples. */
  #base: number | undefined
  #now = 0
  #timelineBytes = 0

  constructor (options: OpenOptions) {
    this.#options = options
    this.#mix = new Mp4Track(join(options.folder, 'mix.mp4'))
    this.#timelineFd = openSync(join(options.folder, timelineName), 'a')
  }

  get files (): RecordedFile[] {
    return [
      { name: 'mix.mp4', kind: 'mix' as const, bytes: this.#mix.bytes, seconds: this.#mix.seconds },
      ...this.#voices.map(({ info, track: { bytes, seconds } }) => ({ ...info, bytes, seconds }))
    ]
  }

  get timelineBytes (): number {
    return this.#timelineBytes
  }

  add (input: MixInput): void {
    this.#base ??= -input.timestamp
    const at = this.#base + input.timestamp
    if (at > this.#now) this.#now = at
    if (input.kind === 'voice') {
      if (this.#options.tracks) this.#hold(input, at)
      return
    }
    // Place a frame of the mix at the arrival time of its voices, so that the mix matches the voice files.
    if (at >= mixDelay) this.#mix.add(at - mixDelay, input.payload, mixSamples)
  }

  /** Appends a line to the timeline, unless the timeline is too long. */
  addLine (line: string): void {
    if (this.#timelineBytes > maxTimelineBytes) return
    const data = Buffer.from(`${line}\n`)
    for (let at = 0; at < data.length;) at += writeSync(this.#timelineFd, data, at)
    this.#timelineBytes += data.length
  }

  /** Writes the packets that have been held long enough. Must be called several times per second. */
  write (): void {
    for (const voice of this.#voices) {
      this.#release(voice, this.#now - holdSamples)
      // Silence is written in small steps and with a delay, so that the silence does not replace late packets.
      voice.track.fillUntil(Math.min(this.#mix.next, this.#now - silenceDelay))
    }
  }

  /** @returns true if the disk has less free space than {@link OpenOptions.minFreeBytes} */
  isDiskFull (): boolean {
    const { bavail, bsize } = statfsSync(this.#options.folder)
    return bavail * bsize < this.#options.minFreeBytes
  }

  /** @param isFault true if the recording failed; the packets in memory are then discarded */
  close (isFault: boolean): void {
    const errors: unknown[] = []
    const attempt = (action: () => void) => {
      try {
        action()
      } catch (error) {
        errors.push(error)
      }
    }
    if (!isFault) {
      for (const voice of this.#voices) {
        attempt(() => {
          this.#release(voice, Infinity)
          voice.track.fillUntil(this.#mix.next)
        })
      }
    }
    for (const track of [this.#mix, ...this.#voices.map(({ track }) => track)]) attempt(() => track.close(!isFault))
    attempt(() => closeSync(this.#timelineFd))
    if (errors.length > 0 && !isFault) throw errors[0]
  }

  #hold (packet: VoicePacket, arrival: number): void {
    if (samplesOf(packet.payload) === 0) return
    const voice = this.#voiceOf(packet, arrival)
    if (!voice) return
    const rtp = voice.clock.extend(packet.rtpTimestamp)
    // If the sender has restarted its RTP timestamps, first write the held packets, which still have the old
    // timestamps.
    if (voice.held.length > 0 && Math.abs(rtp - (voice.held.at(-1)?.rtp ?? rtp)) > 2 * sampleRate) this.#release(voice, Infinity)
    voice.clock.observe(arrival, rtp)
    voice.lastArrival = arrival
    voice.held.push({ rtp, arrival, payload: packet.payload })
  }

  #release (voice: VoiceFile, until: number): void {
    if (voice.held.length === 0) return
    voice.held.sort((a, b) => a.rtp - b.rtp)
    let count = 0
    for (const { rtp, arrival, payload } of voice.held) {
      if (arrival > until) break
      count++
      const duration = samplesOf(payload)
      const at = voice.clock.place(rtp, duration)
      if (at >= 0) voice.track.add(at, payload, duration)
    }
    voice.held.splice(0, count)
  }

  #voiceOf ({ producerId, userId, source }: VoicePacket, arrival: number): VoiceFile | undefined {
    const known = this.#voices.find((voice) => voice.producerId === producerId)
    if (known) return known
    const earlier = this.#voices.find(({ info, lastArrival }) => info.userId === userId && info.source === source && arrival - lastArrival > reuseSamples)
    if (earlier) {
      this.#release(earlier, Infinity)
      return Object.assign(earlier, { producerId, clock: new VoiceClock() })
    }
    if (this.#voices.length >= maxVoiceFiles) return
    const name = `voice-${this.#voices.length + 1}.mp4`
    const voice: VoiceFile = {
      info: { name, kind: 'voice', userId, source },
      track: new Mp4Track(join(this.#options.folder, name)),
      producerId,
      clock: new VoiceClock(),
      held: [],
      lastArrival: arrival
    }
    this.#voices.push(voice)
    return voice
  }
}
