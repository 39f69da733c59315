import { MessageChannel } from 'node:worker_threads'
import type { Logger, RoomMix } from 'flylive-audio-server/feature'
import { sampleRate } from 'flylive-audio-server/fmp4'
import { Packager } from './packager.ts'
import type { PackagerChannel } from './packager.ts'
import type { BroadcastWindow } from './window.ts'

/** Delay between the failure of a packager and its restart, in milliseconds. */
const restartDelayMs = 500
/** A listener count from another server is used for this long, in milliseconds. */
const reportMs = 10_000

interface StationEvents {
  closed (station: Station): void
  /** The packager has failed and will be restarted. */
  restarted (): void
}

/** Packages the mix of one room on this server. When the mix closes, the station closes too. */
export class Station {
  readonly roomId: string
  readonly window: BroadcastWindow
  /** Number of restarts of the packager after a failure. */
  restarts = 0
  /**
   * The time between the end of the latest part's audio and the arrival of that part in the playlist, in milliseconds.
   */
  delayMs: number | undefined
  /**
   * The latest listener count of each other server. `at` is the value of `performance.now()` when the server reported
   * it.
   */
  readonly #elsewhere = new Map<string, { listeners: number, at: number }>()
  readonly #mix: RoomMix
  readonly #packager: Packager
  /**
   * The Unix time of the mix's timestamp 0, in milliseconds. A restarted packager receives the same value, so it
   * continues the timeline.
   */
  readonly #startTime: number
  readonly #log: Logger
  readonly #events: StationEvents
  /**
   * When the audio of the latest part ended, in epoch milliseconds. Before the first part, the time at which the
   * station was opened.
   */
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

  /** Age of the latest audio in the playlist, in milliseconds. It grows while the packager produces no parts. */
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

  /** Connects the mixer thread directly to the packager thread, so that frames do not pass through the main thread. */
  #connect (): void {
    if (this.#closed || this.#mix.closed) return
    const { port1, port2 } = new MessageChannel()
    this.#mix.stream(port1, { pcm: true, packets: true })
    this.#channel?.input(port2)
  }
}

/** The broadcasts on this server. They survive a reload of the feature, so that the broadcasts have no gap. */
export class Air {
  // The callbacks are set when a generation of the feature goes into service, so that a generation that fails to start
  // does not replace the callbacks of the running generation.
  /** Called when a station ends. */
  onStationClosed: (station: Station) => void = () => {}
  /** Called when {@link stations} changes. */
  onChange: () => void = () => {}
  /** Called when a packager is restarted. */
  onRestart: () => void = () => {}
  readonly packager = new Packager()
  /** The stations of the rooms that this server packages, by room id. */
  readonly stations = new Map<string, Station>()
  /**
   * The windows that this server serves to players, by room id: the windows of its stations, and copies of other
   * servers' windows.
   */
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

  /** Stops packaging a room on this server, and closes its window. */
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
