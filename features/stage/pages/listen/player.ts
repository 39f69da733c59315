import Hls from 'hls.js/light'
import { onScopeDispose, ref } from 'vue'
import type { Ref } from 'vue'
import type { Source } from './source.ts'

/**
 * `ready`: the listener must press play. `off`: the room is not on air. `pin`: the listener must enter a PIN. `locked`:
 * the room admits nobody.
 */
export type PlayerState = 'loading' | 'ready' | 'playing' | 'paused' | 'off' | 'pin' | 'locked' | 'failed'

/** Why the server rejected a PIN. */
export type PinTrouble = 'pinWrong' | 'pinTries'

export interface Player {
  readonly state: Ref<PlayerState>
  readonly trouble: Ref<PinTrouble | undefined>
  /** Time between mixing on the server and playback on this page, in seconds; undefined while unknown. */
  readonly delay: Ref<number | undefined>
  play (): Promise<void>
  pause (): void
  /** Unlocks a protected broadcast with its PIN. */
  unlock (pin: string): Promise<void>
}

export interface PlayerOptions {
  roomId: string
  source: Source
  /** URL that issues tokens. The encryption key of an encrypted broadcast requires a token. */
  tokens: string
  /** The token from the page's URL, if any. */
  token: string | undefined
  /** The server's time, in epoch milliseconds. */
  now (): number
}

/** Delay before the player checks again whether the room is on air, in milliseconds. */
const retryMs = 5000
const delayMs = 500
/**
 * How long after a stall the player lowers the target delay again, in milliseconds. Each further stall doubles this
 * time.
 */
const steadyMs = 30_000
const maxSteadyMs = 600_000

/** In Safari, audio elements have a method that returns the start time of the stream. */
type SafariAudio = HTMLAudioElement & { getStartDate?: () => Date }

/**
 * Plays a broadcast in an audio element, which keeps playing while a phone's screen is locked. Safari stops scripts
 * while the screen is locked, so there the browser's own HLS playback replaces hls.js.
 */
export function createPlayer (audio: SafariAudio, { roomId, source, tokens, token: given, now }: PlayerOptions): Player {
  const state = ref<PlayerState>('loading')
  const trouble = ref<PinTrouble>()
  const delay = ref<number>()
  let token = given
  let hls: Hls | undefined
  let timer: ReturnType<typeof setTimeout> | undefined
  let wantsSound = false
  let stalls = 0
  let stalledAt = Infinity

  const closed = () => {
    hls?.destroy()
    hls = undefined
    token = given
    state.value = 'off'
    clearTimeout(timer)
    timer = setTimeout(open, retryMs)
  }
  const ready = () => {
    state.value = 'ready'
    if (wantsSound) play()
  }

  /**
   * Gets a token for the broadcast's encryption key.
   *
   * @returns whether the server issued a token; if not, `state` shows why
   */
  async function authorize (pin: string | undefined): Promise<boolean> {
    const answer = await fetch(tokens, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ roomId, pin }) }).catch(() => undefined)
    if (answer?.ok === true) {
      token = (await answer.json() as { token: string }).token
      return true
    }
    if (answer?.status !== 403 && answer?.status !== 429) {
      closed()
      return false
    }
    const { error } = await answer.json() as { error: { code: string } }
    state.value = error.code === 'ROOM_LOCKED' ? 'locked' : 'pin'
    trouble.value = error.code === 'RATE_LIMITED' ? 'pinTries' : pin === undefined ? undefined : 'pinWrong'
    return false
  }

  async function open (): Promise<void> {
    const info = await source.info()
    if (!info) return closed()
    const { isEncrypted } = info
    if (isEncrypted && token === undefined && !await authorize(undefined)) return
    load(`${source.folder}/index.m3u8${isEncrypted ? `?token=${encodeURIComponent(token ?? '')}` : ''}`)
  }

  function load (url: string): void {
    const playsHls = audio.canPlayType('application/vnd.apple.mpegurl') !== ''
    if (playsHls && ('ManagedMediaSource' in window || !Hls.isSupported())) {
      audio.src = url
      ready()
    } else if (Hls.isSupported()) {
      // hls.js starts its worker from a blob: URL, which the content security policy forbids.
      hls = new Hls({ enableWorker: false, lowLatencyMode: true, maxLiveSyncPlaybackRate: 1.1, liveSyncOnStallIncrease: 0.5, backBufferLength: 10 })
      stalls = 0
      stalledAt = Infinity
      hls.on(Hls.Events.MANIFEST_PARSED, ready)
      hls.on(Hls.Events.ERROR, (_event, { fatal, details, error, response }) => {
        if (details === Hls.ErrorDetails.BUFFER_STALLED_ERROR) {
          stalls++
          stalledAt = performance.now()
        }
        if (!fatal) return
        // 404: the broadcast has ended.
        if (response?.code !== 404) console.warn(`The player failed: ${details} (${error.message})`)
        closed()
      })
      hls.loadSource(url)
      hls.attachMedia(audio)
    } else state.value = 'failed'
  }

  /**
   * Reduces the delay after a stall. After a stall, Chromium buffers about three seconds of audio before it resumes
   * playback, and hls.js permanently raises its target delay. hls.js plays faster to reach its target delay, but not
   * while the delay exceeds `2 * target + targetduration`.
   */
  function catchUp (player: Hls): void {
    const { latestLevelDetails: playlist, targetLatency: target, latency, liveSyncPosition } = player
    if (playlist === null || target === null) return
    if (latency >= 2 * target + playlist.targetduration && liveSyncPosition !== null) audio.currentTime = liveSyncPosition
    if (stalls > 0 && performance.now() - stalledAt > Math.min(steadyMs * 2 ** (stalls - 1), maxSteadyMs)) {
      stalledAt = Infinity
      player.targetLatency = playlist.partHoldBack || playlist.holdBack
    }
  }

  async function play (): Promise<void> {
    wantsSound = true
    // Playback after a pause continues at the live position.
    if (hls?.liveSyncPosition != null) audio.currentTime = hls.liveSyncPosition
    await audio.play().catch(() => { state.value = 'ready' })
  }

  /** @returns the time at which the server mixed the current audio, in epoch milliseconds; undefined while unknown */
  function mixedAt (): number | undefined {
    const began = audio.getStartDate?.().getTime()
    return hls?.playingDate?.getTime() ?? (began === undefined || Number.isNaN(began) ? undefined : began + audio.currentTime * 1000)
  }

  audio.addEventListener('playing', () => { state.value = 'playing' })
  audio.addEventListener('pause', () => { if (state.value === 'playing') state.value = 'paused' })
  audio.addEventListener('error', () => { if (!hls && audio.src !== '') closed() })
  const watch = setInterval(() => {
    if (hls && state.value === 'playing') catchUp(hls)
    const at = mixedAt()
    delay.value = state.value === 'playing' && at !== undefined ? Math.max(0, (now() - at) / 1000) : undefined
  }, delayMs)
  onScopeDispose(() => {
    clearInterval(watch)
    clearTimeout(timer)
    hls?.destroy()
  })
  open()
  return {
    state,
    trouble,
    delay,
    play,
    pause () {
      wantsSound = false
      audio.pause()
    },
    async unlock (pin) {
      if (await authorize(pin)) await open()
    }
  }
}
