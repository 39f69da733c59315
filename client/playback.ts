import { Emitter } from './emitter.ts'
import { createOutput } from './output.ts'
import type { Output } from './output.ts'
import type { UserId } from './protocol.ts'
import { fadeMs, receptionOf } from './remote-tracks.ts'
import type { Reception, RemoteAudio, RemoteTracks } from './remote-tracks.ts'

export interface PlaybackEvents {
  /** `blocked`, `speaker` or a volume changed. */
  change: []
}

const stepMs = 15
const receptions = ['voices', 'mix'] as const

/**
 * Plays the received tracks and cross-fades between the voices and the mix. The client keeps the volume of each user,
 * even after the user leaves the room.
 */
export class AudioPlayback extends Emitter<PlaybackEvents> {
  readonly #tracks: RemoteTracks
  readonly #players = new Map<RemoteAudio, Output>()
  /** Volumes other than 1, by user id as a string. */
  readonly #volumes = new Map<string, number>()
  /** The current fader positions for the cross-fade: one for all voices, one for the mix; 0 to 1. */
  readonly #faders: Record<Reception, number> = { voices: 1, mix: 1 }
  #mixVolume = 1
  #speaker = ''
  #isBlocked = false
  #fade: ReturnType<typeof setInterval> | undefined

  /** @param plays true if the client plays the tracks, false if the application does */
  constructor (tracks: RemoteTracks, plays: boolean) {
    super()
    this.#tracks = tracks
    if (!plays) return
    tracks.on('added', (audio) => this.#add(audio))
    tracks.on('removed', (audio) => this.#remove(audio))
    tracks.on('reception', () => this.#startFade())
  }

  /**
   * Whether the browser blocks playback until the user interacts with the page. After the interaction, call `resume()`.
   */
  get blocked (): boolean {
    return this.#isBlocked
  }

  /** Device id of the speaker; empty for the browser's default. */
  get speaker (): string {
    return this.#speaker
  }

  /** Volume of the mix, 0 to 1. */
  get mixVolume (): number {
    return this.#mixVolume
  }

  /** @returns the volume of a user's tracks, 0 to 1. The volumes of users have no effect while the mix plays */
  volumeOf (userId: UserId): number {
    return this.#volumes.get(String(userId)) ?? 1
  }

  /**
   * Sets the volume of a user's voice and music.
   *
   * @param volume 0 to 1
   */
  setVolume (userId: UserId, volume: number): void {
    if (volume === 1) this.#volumes.delete(String(userId))
    else this.#volumes.set(String(userId), clamp(volume))
    this.#apply()
    this.emit('change')
  }

  /**
   * Sets the volume of the mix.
   *
   * @param volume 0 to 1
   */
  setMixVolume (volume: number): void {
    this.#mixVolume = clamp(volume)
    this.#apply()
    this.emit('change')
  }

  /**
   * Selects the speaker for the current tracks and all later tracks.
   *
   * @param deviceId the id of an `audiooutput` from `navigator.mediaDevices.enumerateDevices()`; empty for the
   *   browser's default
   * @throws DOMException if the device is unknown or not permitted; NotSupportedError if the browser cannot select a
   *   speaker. After an error, the client keeps the previous speaker
   */
  async setSpeaker (deviceId: string): Promise<void> {
    const before = this.#speaker
    this.#speaker = deviceId
    try {
      await Promise.all([...this.#players.values()].map((output) => output.setSpeaker(deviceId)))
      // If no track is playing, check the device with a temporary output that plays nothing.
      if (this.#players.size === 0) await createOutput().setSpeaker(deviceId)
    } catch (error) {
      if (this.#speaker === deviceId) this.#speaker = before
      await Promise.allSettled([...this.#players.values()].map((output) => output.setSpeaker(this.#speaker)))
      throw error
    }
    this.emit('change')
  }

  /** Plays the tracks that the browser blocked. Call this in the event handler of a click or key press. */
  resume (): void {
    this.#setBlocked(false)
    for (const output of this.#players.values()) this.#play(output)
  }

  #add (audio: RemoteAudio): void {
    const output = createOutput(audio.track)
    this.#players.set(audio, output)
    this.#apply()
    if (this.#speaker !== '') output.setSpeaker(this.#speaker).catch(() => { /* The device was unplugged; use the default device. */ })
    this.#play(output)
  }

  #remove (audio: RemoteAudio): void {
    this.#players.get(audio)?.close()
    this.#players.delete(audio)
    if (this.#players.size === 0) this.#setBlocked(false)
  }

  #play (output: Output): void {
    output.play().catch((error: Error) => { if (error.name === 'NotAllowedError') this.#setBlocked(true) })
  }

  #setBlocked (isBlocked: boolean): void {
    if (isBlocked === this.#isBlocked) return
    this.#isBlocked = isBlocked
    this.emit('change')
  }

  /** The fader position of the voices or the mix at the end of a cross-fade. */
  #share (reception: Reception): number {
    return this.#tracks.reception === reception || this.#tracks.reception === undefined ? 1 : 0
  }

  #startFade (): void {
    clearInterval(this.#fade)
    const from = { ...this.#faders }
    const start = performance.now()
    const hasOld = [...this.#players.keys()].some((audio) => this.#share(receptionOf(audio)) === 0)
    const step = () => {
      // In a background page, timers are often late, so calculate the fader positions from the clock.
      const progress = hasOld ? Math.min(1, (performance.now() - start) / fadeMs) : 1
      for (const reception of receptions) this.#faders[reception] = from[reception] + (this.#share(reception) - from[reception]) * progress
      this.#apply()
      if (progress === 1) clearInterval(this.#fade)
    }
    this.#fade = setInterval(step, stepMs)
    step()
  }

  #apply (): void {
    for (const [audio, output] of this.#players) {
      const volume = audio.userId === undefined ? this.#mixVolume : this.volumeOf(audio.userId)
      // Use an equal-power fade, because the signals do not correlate: the mix is delayed relative to the voices.
      output.setVolume(Math.sin(this.#faders[receptionOf(audio)] * Math.PI / 2) * volume)
    }
  }
}

const clamp = (volume: number) => Math.min(1, Math.max(0, volume))
