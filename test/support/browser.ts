import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
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

/** @returns the browser that the set-up has made sure of */
function chromiumPath (): string {
  if (process.env.CHROMIUM_PATH) return process.env.CHROMIUM_PATH
  const names = ['chromium', 'chromium-browser', 'google-chrome']
  const found = (process.env.PATH ?? '').split(delimiter)
    .flatMap((folder) => names.map((name) => join(folder, name)))
    .find((path) => existsSync(path))
  if (found === undefined) throw new Error('There is no chromium on the PATH; CHROMIUM_PATH may name one')
  return found
}

/** A person's browser: each context that it opens has its own profile, and a tone as its microphone. */
export interface PersonBrowser {
  newContext (options?: BrowserContextOptions): Promise<BrowserContext>
}

/** The last flag counts, so that this repeats what Playwright's own disables. The address bar's popups cost half a second of CPU per window. */
const disabledFeatures = [
  'WebUIOmniboxPopup', 'WebUIOmniboxAimPopup',
  'AvoidUnnecessaryBeforeUnloadCheckSync', 'DestroyProfileOnBrowserClose', 'HttpsUpgrades', 'HttpsFirstBalancedModeAutoEnable', 'LensOverlay',
  'MediaRouter', 'PaintHolding', 'ThirdPartyStoragePartitioning', 'OptimizationHints', 'NetworkTimeServiceQuerying', 'AimEnabled', 'PreconnectToSearch'
]

let shared: Promise<Browser> | undefined

/** Starts Chromium once per process, and closes it with the last test of the process. */
async function launch (): Promise<Browser> {
  if (shared) return await shared
  // In a lane the root of this file is a subtest of the process's root.
  const processRoot = (root.parent ?? root) as Test
  processRoot.teardown(async () => { await (await shared)?.close() })
  shared = chromium.launch({
    executablePath: chromiumPath(),
    args: [
      '--no-sandbox',
      // The device is only asked for; what is sent is a tone of the page's own.
      '--use-fake-device-for-media-stream',
      '--autoplay-policy=no-user-gesture-required',
      '--disable-background-networking',
      `--disable-features=${disabledFeatures.join()}`,
      '--host-resolver-rules=MAP elsewhere.test 127.0.0.1'
    ]
  })
  return await shared
}

/**
 * Gives a test a person's browser. All of them share one Chromium; contexts
 * are closed with the test.
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

/** Runs in a page: its microphone, once permitted, is a tone. */
function useTone (hz: number): void {
  const devices = navigator.mediaDevices as MediaDevices | undefined
  if (!devices) return
  const open = devices.getUserMedia.bind(devices)
  devices.getUserMedia = async (constraints) => {
    if (!constraints?.audio) return await open(constraints)
    // The browser asks for permission and rejects as usual; the device itself costs more CPU than a tone.
    for (const track of (await open(constraints)).getTracks()) track.stop()
    const context = new AudioContext()
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
  /** Whether the user lets the page have the microphone. */
  microphone?: boolean
  /** Done before the page is opened. */
  prepare?: (page: Page) => Promise<void>
}

/**
 * Opens the stage in a fresh profile and enters a room, as a person would: on a
 * seat with the microphone, or to listen.
 * Page errors fail the test.
 */
export async function visit (t: Test, browser: PersonBrowser, url: string, { name, room, microphone = true, prepare, ...options }: VisitOptions): Promise<Page> {
  // What moves on a page is painted, which costs a machine without a graphics card more than all that is tested.
  const context = await browser.newContext({ permissions: microphone ? ['microphone'] : [], reducedMotion: 'reduce', ...options })
  const page = await context.newPage()
  page.on('pageerror', (error) => t.fail(`the page of ${name} has an error: ${error.stack}`))
  await prepare?.(page)
  await page.goto(url)
  await page.getByLabel('Your name').fill(name)
  await page.getByLabel('Room', { exact: true }).fill(room)
  // The browser takes a tone that does not change for noise.
  await page.getByLabel('Original sound').check()
  await page.getByRole('button', { name: 'Join', exact: true }).click()
  if (microphone) await page.getByRole('button', { name: 'Speak', exact: true }).click()
  return page
}

/** Runs an action of a user's sheet: `act(page, 'Bob', 'Mute Bob')`. */
export async function act (page: Page, name: string, deed: string): Promise<void> {
  const sheet = await sheetOf(page, name)
  await sheet.getByRole('button', { name: deed, exact: true }).click()
  await sheet.waitFor({ state: 'detached' })
}

/** Opens the sheet of a user. */
export async function sheetOf (page: Page, name: string): Promise<Locator> {
  await personOn(page, name).getByRole('button').click()
  const sheet = page.getByRole('dialog')
  await sheet.waitFor()
  return sheet
}

/** Does something with a seat that is free, as its sheet offers it to the owner and admins: `onSeat(page, 2, 'Lock seat 2')`. */
export async function onSeat (page: Page, number: number, deed: string): Promise<void> {
  await page.getByRole('button', { name: `Options of seat ${number}`, exact: true }).click()
  await page.getByRole('dialog').getByRole('button', { name: deed, exact: true }).click()
  await page.getByRole('dialog').waitFor({ state: 'detached' })
}

/** Sends a user one gift of the first kind. */
export async function give (page: Page, name: string): Promise<void> {
  await act(page, name, 'Send gift')
}

/** Gets up from the own seat. */
export async function getUp (page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Leave seat', exact: true }).click()
}

/** Leaves the room. */
export async function leaveRoom (page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Leave', exact: true }).click()
  await page.getByRole('button', { name: 'Join', exact: true }).waitFor()
}

/** The user changes their mind about the microphone. */
export async function allowMicrophone (page: Page): Promise<void> {
  await page.context().grantPermissions(['microphone'])
}

/** Reception statistics of one user's track. */
export interface Reception {
  producerId: string
  packetsReceived: number
  packetsLost: number
  totalAudioEnergy: number
  /** Concealed samples: their packets did not arrive in time. */
  concealedSamples: number
  totalSamplesReceived: number
}

/** @returns the reception statistics of a user; undefined without a track */
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
 * Measures the strongest frequency of the audio that a page receives from a user, in the
 * samples themselves (0.7 s), with a resolution below 1 Hz.
 *
 * @param name of the user, or the id of a user outside the room
 * @returns in hertz; 0 for silence and without a track
 */
export async function frequencyOf (page: Page, name: string): Promise<number> {
  return await page.evaluate(async (name) => {
    const room = window.flylive
    const user = room?.participants.find(({ profile }) => profile.name === name)
    const heard = room?.audio?.heard.find(({ userId }) => userId === (user?.userId ?? name))
    if (!heard) return 0
    const context = new AudioContext()
    try {
      const analyser = new AnalyserNode(context, { fftSize: 32_768, smoothingTimeConstant: 0 })
      context.createMediaStreamSource(new MediaStream([heard.track])).connect(analyser)
      const begin = context.currentTime
      const filled = begin + analyser.fftSize / context.sampleRate
      while (context.currentTime < filled) await new Promise(requestAnimationFrame)
      const levels = new Float32Array(analyser.frequencyBinCount)
      analyser.getFloatFrequencyData(levels)
      const peak = levels.reduce((best, level, bin) => level > (levels[best] as number) ? bin : best, 1)
      const [before = 0, top = 0, after = 0] = levels.slice(peak - 1, peak + 2)
      if (top < -80) return 0
      // The true peak lies between the bins: a parabola through three of them.
      const offset = (before - after) / (2 * (before - 2 * top + after))
      return (peak + offset) * context.sampleRate / analyser.fftSize
    } finally {
      await context.close()
    }
  }, name)
}

/**
 * Waits until a page receives a user's tone, to within 2 Hz.
 *
 * @param hz the tone; 0 for silence
 */
export async function expectTone (page: Page, name: string, hz: number): Promise<void> {
  await until(async () => Math.abs(await frequencyOf(page, name) - hz) < 2, 30_000)
}

/** A user's tile on the stage, optionally with their activity. */
export function personOn (page: Page, name: string, doing?: string): Locator {
  const person = page.getByRole('list', { name: 'In the room' }).getByRole('listitem').filter({ hasText: name })
  return doing === undefined ? person : person.filter({ hasText: new RegExp(`${doing}$`) })
}

/** A seat on the stage by its label: `Seat 2: Bob`, `Seat 1: you`, `Take seat 3`. */
export function seatOn (page: Page, name: string): Locator {
  return page.getByRole('group', { name: 'Seats' }).getByRole('button', { name, exact: true })
}

/**
 * Watches for the next stream that a page gets from a user in the place of the
 * one it has now.
 *
 * @returns once it watches; `arrived` gives the time at which the first packet
 *   of that stream was there, in epoch milliseconds, at most some 50 ms late
 */
export async function nextSoundFrom (page: Page, name: string): Promise<{ arrived (): Promise<number> }> {
  const watch = await page.evaluateHandle((name) => {
    const room = window.flylive
    const user = room?.participants.find(({ profile }) => profile.name === name)
    const audio = room?.audio
    const { promise, resolve, reject } = Promise.withResolvers<number>()
    setTimeout(() => reject(new Error(`No new stream of ${name} came`)), 30_000)
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

/** Memory that a page holds after garbage collection. */
export interface Holding {
  /** JavaScript's heap, in bytes. */
  heap: number
  /** Of all documents, detached ones included. */
  nodes: number
  listeners: number
}

/** @returns the memory that a Chromium page holds */
export async function holdingOf (page: Page): Promise<Holding> {
  const session = await page.context().newCDPSession(page)
  await session.send('Performance.enable')
  await session.send('HeapProfiler.collectGarbage')
  const { metrics } = await session.send('Performance.getMetrics')
  await session.detach()
  const value = (name: string) => metrics.find((metric) => metric.name === name)?.value ?? NaN
  return { heap: value('JSHeapUsedSize'), nodes: value('Nodes'), listeners: value('JSEventListeners') }
}
