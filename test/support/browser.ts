import { existsSync } from 'node:fs'
import { basename, delimiter, join } from 'node:path'
import { chromium } from 'playwright-core'
import type { Browser, BrowserContext, BrowserContextOptions, Locator, Page } from 'playwright-core'
import root from 'tap'
import type { Test } from 'tap'
import type { RoomClient } from '../../client/index.ts'
import { until } from './retry.ts'

declare global {
  interface Window {
    flylive?: RoomClient | undefined
  }
}

/**
 * @param names commands in order of preference
 * @param variable environment variable that overrides the search
 * @returns the path of the first installed command
 */
export function findBrowser (names: readonly string[], variable: string): string {
  const given = process.env[variable]
  if (given) return given
  const found = (process.env.PATH ?? '').split(delimiter)
    .flatMap((folder) => names.map((name) => join(folder, name)))
    .filter((path) => existsSync(path))
    .sort((a, b) => names.indexOf(basename(a)) - names.indexOf(basename(b)))
    .at(0)
  if (found === undefined) throw new Error(`none of ${names.join(', ')} is on the PATH; set ${variable} to the path of a browser`)
  return found
}

/** A user's browser. Each context has its own profile and a microphone that produces a tone. */
export interface PersonBrowser {
  newContext (options?: BrowserContextOptions): Promise<BrowserContext>
}

/**
 * Chromium applies only the last `--disable-features` flag, so this list includes the features that Playwright
 * disables. `WebUIOmniboxPopup` and `WebUIOmniboxAimPopup` are address bar popups, which cost half a second of CPU time
 * per window. With `AudioServiceOutOfProcess`, audio would pass through an additional process.
 */
const disabledFeatures = [
  'WebUIOmniboxPopup', 'WebUIOmniboxAimPopup', 'AudioServiceOutOfProcess',
  'AvoidUnnecessaryBeforeUnloadCheckSync', 'DestroyProfileOnBrowserClose', 'HttpsUpgrades', 'HttpsFirstBalancedModeAutoEnable', 'LensOverlay',
  'MediaRouter', 'PaintHolding', 'ThirdPartyStoragePartitioning', 'OptimizationHints', 'NetworkTimeServiceQuerying', 'AimEnabled', 'PreconnectToSearch'
]

let shared: Promise<Browser> | undefined

/** Starts Chromium once per process and closes it after the last test. */
async function launch (): Promise<Browser> {
  if (shared) return await shared
  // Use the root test of the process: if a process runs several test files, the root test of each file is only a
  // subtest.
  const processRoot = (root.parent ?? root) as Test
  processRoot.teardown(async () => { await (await shared)?.close() })
  shared = chromium.launch({
    // Prefer the headless shell, because it needs a third less CPU time than the full browser.
    executablePath: findBrowser(['chromium-headless-shell', 'chromium', 'chromium-browser', 'google-chrome'], 'CHROMIUM_PATH'),
    args: [
      '--no-sandbox',
      // Pages open this fake device, but send a tone that `useTone` generates. The headless shell has no permission
      // prompt, so `useTone` checks the permission.
      '--use-fake-device-for-media-stream',
      '--use-fake-ui-for-media-stream',
      '--autoplay-policy=no-user-gesture-required',
      '--disable-background-networking',
      `--disable-features=${disabledFeatures.join()}`,
      // Runs the network service in the browser process to save a process.
      '--enable-features=NetworkServiceInProcess2',
      '--host-resolver-rules=MAP elsewhere.test 127.0.0.1'
    ]
  })
  return await shared
}

/**
 * Opens a user's browser. All tests share one Chromium; the contexts of a test are closed after the test.
 *
 * @param hz frequency of the microphone's tone
 */
export async function openBrowser (t: Test, hz: number): Promise<PersonBrowser> {
  const browser = await launch()
  const contexts: BrowserContext[] = []
  t.teardown(() => Promise.all(contexts.map((context) => context.close())))
  return {
    async newContext (options) {
      const context = await browser.newContext(options)
      contexts.push(context)
      await context.addInitScript(useTone, hz)
      return context
    }
  }
}

/** Runs in the page. Replaces the microphone with a tone if access is permitted. */
function useTone (hz: number): void {
  const devices = navigator.mediaDevices as MediaDevices | undefined
  if (!devices) return
  const open = devices.getUserMedia.bind(devices)
  devices.getUserMedia = async (constraints) => {
    if (!constraints?.audio) return await open(constraints)
    const { state } = await navigator.permissions.query({ name: 'microphone' })
    if (state !== 'granted') throw new DOMException('Permission denied', 'NotAllowedError')
    // Open the device, as a real page does. Then stop the device, because a generated tone needs less CPU time.
    for (const track of (await open(constraints)).getTracks()) track.stop()
    // The larger buffers of `playback` halve the CPU time.
    const context = new AudioContext({ latencyHint: 'playback' })
    const oscillator = new OscillatorNode(context, { frequency: hz })
    const output = context.createMediaStreamDestination()
    oscillator.connect(new GainNode(context, { gain: 0.3 })).connect(output)
    oscillator.start()
    const [track] = output.stream.getAudioTracks() as [MediaStreamTrack]
    const stop = track.stop.bind(track)
    track.stop = () => {
      stop()
      if (context.state !== 'closed') context.close()
    }
    return output.stream
  }
}

export interface VisitOptions extends BrowserContextOptions {
  name: string
  room: string
  /** Whether the user grants access to the microphone. */
  microphone?: boolean
  /** Runs before the page is opened. */
  prepare?: (page: Page) => Promise<void>
}

/**
 * Opens the stage page in a new profile and enters a room. With a microphone, the user takes a seat; otherwise the user
 * only listens. Page errors fail the test.
 */
export async function visit (t: Test, browser: PersonBrowser, url: string, { name, room, microphone = true, prepare, ...options }: VisitOptions): Promise<Page> {
  // Reduce motion: without a graphics card, painting animations takes more CPU time than the code under test.
  const context = await browser.newContext({ permissions: microphone ? ['microphone'] : [], reducedMotion: 'reduce', ...options })
  const page = await context.newPage()
  page.on('pageerror', (error) => t.fail(`the page of ${name} has an error: ${error.stack}`))
  await prepare?.(page)
  await page.goto(url)
  await page.getByLabel('Your name').fill(name)
  await page.getByLabel('Room', { exact: true }).fill(room)
  // Noise suppression would remove a constant tone.
  await page.getByLabel('Original sound').check()
  await page.getByRole('button', { name: 'Join', exact: true }).click()
  if (microphone) await page.getByRole('button', { name: 'Speak', exact: true }).click()
  return page
}

/** Selects an action in a user's sheet: `act(page, 'Bob', 'Mute Bob')`. */
export async function act (page: Page, name: string, deed: string): Promise<void> {
  const sheet = await sheetOf(page, name)
  await sheet.getByRole('button', { name: deed, exact: true }).click()
  await sheet.waitFor({ state: 'detached' })
}

export async function sheetOf (page: Page, name: string): Promise<Locator> {
  await personOn(page, name).getByRole('button').click()
  const sheet = page.getByRole('dialog')
  await sheet.waitFor()
  return sheet
}

/**
 * Selects an action in the sheet of a free seat: `onSeat(page, 2, 'Lock seat 2')`. Only the owner and admins can open
 * this sheet.
 */
export async function onSeat (page: Page, number: number, deed: string): Promise<void> {
  await page.getByRole('button', { name: `Options for seat ${number}`, exact: true }).click()
  await page.getByRole('dialog').getByRole('button', { name: deed, exact: true }).click()
  await page.getByRole('dialog').waitFor({ state: 'detached' })
}

/** Sends one gift of the first kind to a user. */
export async function give (page: Page, name: string): Promise<void> {
  await act(page, name, 'Send gift')
}

export async function getUp (page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Leave seat', exact: true }).click()
}

export async function leaveRoom (page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Leave', exact: true }).click()
  await page.getByRole('button', { name: 'Join', exact: true }).waitFor()
}

/** Grants the page access to the microphone after access was denied. */
export async function allowMicrophone (page: Page): Promise<void> {
  await page.context().grantPermissions(['microphone'])
}

/** Reception statistics of a user's track. */
export interface Reception {
  producerId: string
  packetsReceived: number
  packetsLost: number
  totalAudioEnergy: number
  /** Samples that were concealed because their packets were lost or late. */
  concealedSamples: number
  totalSamplesReceived: number
}

/** @returns the reception statistics of a user's track, or undefined if the page receives none */
export async function receptionOf (page: Page, name: string): Promise<Reception | undefined> {
  return await page.evaluate(async (name) => {
    const room = window.flylive
    const user = room?.participants.find(({ profile }) => profile.name === name)
    const heard = room?.audio?.heard.find(({ userId }) => userId === user?.userId)
    for (const report of (await heard?.receiver.getStats())?.values() ?? []) {
      if (report.type !== 'inbound-rtp') continue
      const { packetsReceived, packetsLost, totalAudioEnergy, concealedSamples, totalSamplesReceived } = report as Reception
      return { producerId: heard?.producerId ?? '', packetsReceived, packetsLost, totalAudioEnergy, concealedSamples, totalSamplesReceived }
    }
    return undefined
  }, name)
}

/**
 * Measures the strongest frequency in 0.34 s of the audio that a page receives from
 * a user. Interpolates between the bins of the spectrum, so the result is accurate to within 1 Hz.
 *
 * @param name the user's name, or the user's id if the user is not in the room
 * @returns the frequency in hertz; 0 if the user is silent or has no track
 */
export async function frequencyOf (page: Page, name: string): Promise<number> {
  return await page.evaluate(measureFrequency, name)
}

/** Runs in the page; see {@link frequencyOf}. */
export async function measureFrequency (name: string): Promise<number> {
  const room = window.flylive
  const user = room?.participants.find(({ profile }) => profile.name === name)
  const heard = room?.audio?.heard.find(({ userId }) => userId === (user?.userId ?? name))
  if (!heard) return 0
  const context = new AudioContext({ latencyHint: 'playback' })
  try {
    const analyser = new AnalyserNode(context, { fftSize: 16_384, smoothingTimeConstant: 0 })
    context.createMediaStreamSource(new MediaStream([heard.track])).connect(analyser)
    const begin = context.currentTime
    const filled = begin + analyser.fftSize / context.sampleRate
    // Wait with a timer, because waiting for an animation frame would paint the page.
    while (context.currentTime < filled) await new Promise((resolve) => setTimeout(resolve, 1000 * (filled - context.currentTime)))
    const levels = new Float32Array(analyser.frequencyBinCount)
    analyser.getFloatFrequencyData(levels)
    const peak = levels.reduce((best, level, bin) => level > (levels[best] as number) ? bin : best, 1)
    const [before = 0, top = 0, after = 0] = levels.slice(peak - 1, peak + 2)
    if (top < -80) return 0
    // The true peak lies between the bins; interpolate with a parabola through three bins.
    const offset = (before - after) / (2 * (before - 2 * top + after))
    return (peak + offset) * context.sampleRate / analyser.fftSize
  } finally {
    await context.close()
  }
}

/**
 * Waits until a page receives a user's tone, to within 2 Hz.
 *
 * @param hz the tone; 0 for silence
 */
export async function expectTone (page: Page, name: string, hz: number): Promise<void> {
  await until(async () => Math.abs(await frequencyOf(page, name) - hz) < 2, 30_000)
}

/** A user's tile on the stage page. If `doing` is given, the tile must show that activity. */
export function personOn (page: Page, name: string, doing?: string): Locator {
  const person = page.getByRole('list', { name: 'In the room' }).getByRole('listitem').filter({ hasText: name })
  return doing === undefined ? person : person.filter({ hasText: new RegExp(`${doing}$`) })
}

/** A seat on the stage page, by the seat's label: `Seat 2: Bob`, `Seat 1: you`, `Take seat 3`. */
export function seatOn (page: Page, name: string): Locator {
  return page.getByRole('group', { name: 'Seats' }).getByRole('button', { name, exact: true })
}

/**
 * Watches a page for the next new stream from a user.
 *
 * Resolves once the watch has started.
 *
 * @returns `arrived`, which resolves with the time when the new stream's first packet arrives, in epoch milliseconds,
 *   accurate to about 50 ms
 */
export async function nextSoundFrom (page: Page, name: string): Promise<{ arrived (): Promise<number> }> {
  const watch = await page.evaluateHandle((name) => {
    const room = window.flylive
    const user = room?.participants.find(({ profile }) => profile.name === name)
    const audio = room?.audio
    const { promise, resolve, reject } = Promise.withResolvers<number>()
    setTimeout(() => reject(new Error(`No new stream of ${name} arrived`)), 30_000)
    const stop = audio?.on('added', async ({ userId, receiver }) => {
      if (userId !== user?.userId) return
      for (;;) {
        for (const report of (await receiver.getStats()).values()) {
          if (report.type !== 'inbound-rtp' || report.packetsReceived === 0) continue
          resolve(Date.now())
          return stop?.()
        }
        if (!audio.heard.some((heard) => heard.receiver === receiver)) return
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
    })
    return { arrived: promise }
  }, name)
  return { arrived: () => watch.evaluate(({ arrived }) => arrived) }
}

/** Memory that a page retains after garbage collection. */
export interface Holding {
  /** JavaScript heap, in bytes. */
  heap: number
  /** DOM nodes of all documents, including detached nodes. */
  nodes: number
  listeners: number
}

/** @returns the memory that a Chromium page retains */
export async function holdingOf (page: Page): Promise<Holding> {
  const session = await page.context().newCDPSession(page)
  await session.send('Performance.enable')
  await session.send('HeapProfiler.collectGarbage')
  const { metrics } = await session.send('Performance.getMetrics')
  await session.detach()
  const value = (name: string) => metrics.find((metric) => metric.name === name)?.value ?? NaN
  return { heap: value('JSHeapUsedSize'), nodes: value('Nodes'), listeners: value('JSEventListeners') }
}
