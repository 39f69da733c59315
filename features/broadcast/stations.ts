import { MessageChannel } from 'node:worker_threads'
import type { Logger, RoomMix } from 'flylive-audio-server/feature'
import { sampleRate } from 'flylive-audio-server/fmp4'
import { Packager } from './packager.ts'
import type { PackagerChannel } from './packager.ts'
import type { BroadcastWindow } from './window.ts'

/** Delay before a failed packager is restarted, in milliseconds. */
const restartDelayMs = 500
/** How long another server's listener count is valid, in milliseconds. */
const reportMs = 10_000

interface StationEvents {
  closed (station: Station): void
  /** The packager is about to be restarted. */
  restarted (): void
}

/** Packages the mix of one room on this server. A station ends when its mix ends. */
export class Station {
  readonly roomId: string
  readonly window: BroadcastWindow
  /** How many times the packager was restarted. */
  restarts = 0
  /** Time from the end of the audio in the latest part until the part was in the playlist, in milliseconds. */
  delayMs: number | undefined
  /**
   * Listener counts of the other servers, by server. `at`: when the count was reported, in `performance.now()` time.
   */
  readonly #elsewhere = new Map<string, { listeners: number, at: number }>()
  readonly #mix: RoomMix
  readonly #packager: Packager
  /** Unix time at timestamp 0 of the mix, in milliseconds. A restarted packager continues the same timeline. */
  readonly #startTime: number
  readonly #log: Logger
  readonly #events: StationEvents
  /** End of the latest part's audio, in epoch milliseconds. Initially, the time when the station opened. */
  #latest = Date.now()
  #channel: PackagerChannel | undefined
  #timer: NodeJS.Timeout | undefined
  #closed = false

  constructor (mix: RoomMix, window: BroadcastWindow, packager: Packager, log: Logger, events: StationEvents) {
    this.roomId = mix.roomId
    this.window = window
    this.#mix = mix
    this.#startTime = mix.startTime
    this.#packager = packager
    this.#log = log
    this.#events = events
    mix.on('close', () => this.close())
    this.#open()
  }

  /** See {@link BroadcastWindow.options}. */
  get startedAt (): number {
    return this.window.options.startedAt
  }

  /** Number of listeners across all servers. See {@link BroadcastWindow.listeners}. */
  get listeners (): number {
    const now = performance.now()
    return this.#elsewhere.values().reduce((sum, { listeners, at }) => now - at < reportMs ? sum + listeners : sum, this.window.listeners)
  }

  /** Age of the latest audio in the playlist, in milliseconds. Grows while the packager produces nothing. */
  get ageMs (): number {
    return Date.now() - this.#latest
  }

  /** Records the number of listeners on another server. */
  report (nodeId: string, listeners: number): void {
    this.#elsewhere.set(nodeId, { listeners, at: performance.now() })
  }

  /** Stops packaging. The window stays open, because another server may continue the broadcast. Idempotent. */
  close (): void {
    if (this.#closed) return
    this.#closed = true
    clearTimeout(this.#timer)
    this.#channel?.close()
    this.#mix.close()
    this.#events.closed(this)
  }

  #open (): void {
    if (this.#closed) return
    this.#channel = this.#packager.open(this.#startTime, {
      init: (codec, data) => this.window.setInit(codec, data),
      part: (part) => {
        this.#latest = (part.start + part.duration) / sampleRate * 1000
        this.delayMs = Date.now() - this.#latest
        this.window.add(part)
      },
      inputClosed: () => this.#connect(),
      failed: (reason) => {
        this.#log.warn({ roomId: this.roomId, reason }, 'the packager of a broadcast failed, restarting it')
        this.restarts++
        this.#events.restarted()
        this.#timer = setTimeout(() => this.#open(), restartDelayMs).unref()
      }
    })
    this.#connect()
  }

  /** Connects the mixer thread to the packager thread, so that frames bypass the main thread. */
  #connect (): void {
    if (this.#closed || this.#mix.closed) return
    const { port1, port2 } = new MessageChannel()
    this.#mix.stream(port1, { pcm: true, packets: true })
    this.#channel?.input(port2)
  }
}

/** The broadcasts on this server. They outlive a reload of the feature, so that no segment is lost. */
export class Air {
  /** Called when a station ends. Set by the running generation of the feature. */
  onStationClosed: (station: Station) => void = () => {}
  /** Called when {@link stations} changes. Set by the running generation of the feature. */
  onChange: () => void = () => {}
  /** Called when a packager is restarted. Set by the running generation of the feature. */
  onRestart: () => void = () => {}
  readonly packager = new Packager()
  /** The rooms that this server packages. */
  readonly stations = new Map<string, Station>()
  /** The windows that this server serves to players: those of its stations, and copies from other servers. */
  readonly windows = new Map<string, BroadcastWindow>()

  open (mix: RoomMix, window: BroadcastWindow, log: Logger): Station {
    const station = new Station(mix, window, this.packager, log, {
      closed: (closed) => {
        if (this.stations.get(closed.roomId) !== closed) return
        this.stations.delete(closed.roomId)
        this.onChange()
        this.onStationClosed(closed)
      },
      restarted: () => this.onRestart()
    })
    this.stations.set(mix.roomId, station)
    this.windows.set(mix.roomId, window)
    this.onChange()
    return station
  }

  /** Ends a room's broadcast on this server. */
  end (roomId: string): void {
    const window = this.windows.get(roomId)
    this.windows.delete(roomId)
    this.stations.get(roomId)?.close()
    window?.close()
  }

  async close (): Promise<void> {
    for (const roomId of [...this.stations.keys(), ...this.windows.keys()]) this.end(roomId)
    await this.packager.close()
  }
}
