import { createBackoff } from './backoff.ts'
import { RequestError } from './errors.ts'
import { openAnotherMicrophone } from './microphone.ts'

/**
 * What a track contains. Music is sent in stereo, at a higher bit rate than a voice, and without a break during
 * silence.
 */
export type AudioSource = 'voice' | 'music'

export interface PublishOptions {
  /** Default: `voice`. A user can publish one track per source at a time. */
  source?: AudioSource
  /**
   * Called when the published track ends, for example because the microphone was unplugged; returns a new track. The
   * client stops the new track when it is no longer sent. By default, if the published track comes from a microphone,
   * the client opens another microphone. If this option is false, the client unpublishes the track when it ends.
   */
  reopen?: false | (() => Promise<MediaStreamTrack>)
}

export interface PublicationEvents {
  /** The device muted or unmuted the track, or the track ended and the client is replacing it. */
  changed: () => void
  /** The track ended, and the client replaced it with `track`. */
  replaced: (track: MediaStreamTrack) => void
  /** The track ended, and there is no replacement. */
  ended: (error: RequestError) => void
}

/**
 * `getUserMedia` throws these errors, for example, while a phone call uses the microphone, so a later attempt may
 * succeed.
 */
const busyErrors = new Set(['NotReadableError', 'AbortError'])

/** A published track. When the track ends, another track may replace it. */
export class Publication {
  readonly source: AudioSource
  readonly #sent = Promise.withResolvers<void>()
  readonly #reopen: false | (() => Promise<MediaStreamTrack>)
  readonly #events: PublicationEvents
  #track: MediaStreamTrack
  #isEnabled = true
  /** True if the client itself opened the track and must therefore stop it. */
  #isOwned = false
  #isReopening = false
  #isWithdrawn = false

  constructor (track: MediaStreamTrack, { source = 'voice', reopen = openAnotherMicrophone(track) }: PublishOptions, events: PublicationEvents) {
    this.source = source
    this.#track = track
    this.#reopen = reopen
    this.#events = events
    this.#sent.promise.catch(() => {})
    this.#listen()
  }

  get track (): MediaStreamTrack {
    return this.#track
  }

  /** Resolves when the track is first sent. Rejects if the track is withdrawn before it is sent. */
  get sent (): Promise<void> {
    return this.#sent.promise
  }

  /** True if the track has ended and the client is opening a replacement. */
  get isReopening (): boolean {
    return this.#isReopening
  }

  /** True while the device provides no audio: the device has muted the track, or the track has ended. */
  get isInterrupted (): boolean {
    return this.#isReopening || this.#track.muted
  }

  /** Must be called when the track is first sent. Idempotent. */
  markSent (): void {
    this.#sent.resolve()
  }

  /** If false, the track sends silence. */
  setEnabled (isEnabled: boolean): void {
    this.#isEnabled = isEnabled
    this.#track.enabled = isEnabled
  }

  /** Stops observing the track, stops it if the client opened it, and rejects `sent` with `why`. */
  withdraw (why: Error): void {
    this.#isWithdrawn = true
    this.#ignore()
    if (this.#isOwned) this.#track.stop()
    this.#sent.reject(why)
  }

  readonly #changed = (): void => this.#events.changed()
  readonly #ended = (): void => { this.#replace() }

  #listen (): void {
    this.#track.enabled = this.#isEnabled
    this.#track.addEventListener('mute', this.#changed)
    this.#track.addEventListener('unmute', this.#changed)
    this.#track.addEventListener('ended', this.#ended)
  }

  #ignore (): void {
    this.#track.removeEventListener('mute', this.#changed)
    this.#track.removeEventListener('unmute', this.#changed)
    this.#track.removeEventListener('ended', this.#ended)
  }

  /** Replaces the ended track. Retries while another application uses the microphone. */
  async #replace (): Promise<void> {
    if (this.#isWithdrawn || this.#isReopening) return
    this.#isReopening = true
    this.#ignore()
    this.#events.changed()
    try {
      const track = this.#reopen ? await openWhenFree(this.#reopen, () => !this.#isWithdrawn) : undefined
      if (this.#isWithdrawn) {
        track?.stop()
        return
      }
      if (!track) throw new Error('Replacement of the track is turned off')
      if (this.#isOwned) this.#track.stop()
      this.#track = track
      this.#isOwned = true
      this.#isReopening = false
      this.#listen()
      this.#events.replaced(track)
    } catch (cause) {
      if (!this.#isWithdrawn) this.#events.ended(new RequestError({ code: 'TRACK_ENDED', message: 'The track has ended' }, { cause }))
    }
  }
}

/**
 * Opens a microphone. While another application uses the microphone, retries with backoff.
 *
 * @param isWanted returns whether to retry
 * @throws the error from `open`
 */
async function openWhenFree (open: () => Promise<MediaStreamTrack>, isWanted: () => boolean): Promise<MediaStreamTrack> {
  const backoff = createBackoff({ firstMs: 500, longestMs: 5000 })
  for (;;) {
    try {
      return await open()
    } catch (error) {
      const { name, cause } = error as Error
      const isBusy = busyErrors.has(name) || busyErrors.has((cause as Error | undefined)?.name ?? '')
      if (!isBusy) throw error
      await new Promise((resolve) => setTimeout(resolve, backoff.next()))
      // The track may have been unpublished during the wait, so do not open the microphone again.
      if (!isWanted()) throw error
    }
  }
}
