import type { Test } from 'tap'
import { build } from '../support/build.ts'
import { openBrowser } from '../support/browser.ts'
import { clientSite, enterOn } from '../support/client-page.ts'
import { until } from '../support/retry.ts'

// A listener of the mix repeatedly takes a seat, speaks and leaves the seat. Ada sends a tone whose frequency rises for
// four seconds and then restarts, so each frequency identifies a moment in her audio.

/** A tone that rises from `lowHz` to `highHz` within `seconds`. */
const sweep = { seconds: 4, lowHz: 400, highHz: 2400 }
/** The listener's own tone, which is quiet and far above the rising tone. */
const ownHz = 6000

/** Measurements of 20 ms of a page's audio. */
export interface Block {
  /** Position in the recording, in seconds. */
  at: number
  /** Level of the rising tone. */
  level: number
  /** Frequency of the rising tone. */
  hz: number
  /** Level of the listener's own tone. */
  own: number
}

declare global {
  interface Window {
    blocks: Block[]
    recorder: { context: AudioContext, input: AudioNode }
  }
}

/** Runs in an audio worklet: measures each channel of its input in blocks of 20 ms. */
const measuring = `registerProcessor('measure', class extends AudioWorkletProcessor {
  samples = []; own = []
  process ([[low, high]]) {
    if (low) this.samples.push(...low); else this.samples.push(...new Float32Array(128))
    if (high) this.own.push(...high); else this.own.push(...new Float32Array(128))
    if (this.samples.length < 960) return true
    const rms = (samples) => Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length)
    const crossings = []
    for (let i = 1; i < this.samples.length; i++) {
      const [before, after] = [this.samples[i - 1], this.samples[i]]
      if (before < 0 && after >= 0) crossings.push(i - 1 + before / (before - after))
    }
    const hz = crossings.length < 2 ? 0 : (crossings.length - 1) * sampleRate / (crossings.at(-1) - crossings[0])
    this.port.postMessage({ at: currentTime, level: rms(this.samples), hz, own: rms(this.own) })
    this.samples = []; this.own = []
    return true
  }
})`

/** Runs in the page before the client loads. Records what the page's audio elements play, at their current volumes. */
function recordPlayback (measuring: string): void {
  window.blocks = []
  const context = new AudioContext({ sampleRate: 48_000 })
  const input = new GainNode(context)
  window.recorder = { context, input }
  context.audioWorklet.addModule(URL.createObjectURL(new Blob([measuring], { type: 'text/javascript' }))).then(() => {
    const measure = new AudioWorkletNode(context, 'measure', { numberOfInputs: 1, channelCount: 2, channelCountMode: 'explicit', channelInterpretation: 'discrete' })
    const merger = new ChannelMergerNode(context, { numberOfInputs: 2 })
    input.connect(new BiquadFilterNode(context, { type: 'lowpass', frequency: 3200 })).connect(merger, 0, 0)
    const highpass = () => new BiquadFilterNode(context, { type: 'highpass', frequency: 5000 })
    input.connect(highpass()).connect(highpass()).connect(highpass()).connect(highpass()).connect(merger, 0, 1)
    merger.connect(measure).connect(new GainNode(context, { gain: 0 })).connect(context.destination)
    measure.port.onmessage = ({ data }) => window.blocks.push(data as Block)
  })
  const { Audio: Original } = window
  window.Audio = function () {
    const element = new Original()
    const gain = new GainNode(context)
    gain.connect(input)
    let [source, volume]: [AudioNode | undefined, number] = [undefined, 1]
    const [stream, native] = ['srcObject', 'volume'].map((name) => Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, name)) as [PropertyDescriptor, PropertyDescriptor]
    Object.defineProperty(element, 'srcObject', {
      get: () => stream.get?.call(element) as unknown,
      set (value: MediaStream | null) {
        stream.set?.call(element, value)
        source?.disconnect()
        source = value ? context.createMediaStreamSource(value) : undefined
        source?.connect(gain)
      }
    })
    Object.defineProperty(element, 'volume', {
      get: () => volume,
      set (value: number) {
        native.set?.call(element, value)
        volume = value
        gain.gain.value = value
      }
    })
    return element
  } as unknown as typeof Audio
}

/** If the delays of neighbouring blocks differ by more than this time, in seconds, a new run of blocks starts. */
const continuous = 0.02
/** Minimum number of blocks per run. Shorter runs are ignored. */
const shortestRun = 4

export interface Switching {
  /** Longest silence, in milliseconds. */
  gapMs: number
  /** Longest piece of audio that was repeated or skipped, in milliseconds. */
  jumpMs: number
  /** Longest time that the listener heard their own voice, in milliseconds. */
  echoMs: number
  seconds: number
}

/**
 * Sets up a room with a speaker and a listener.
 *
 * @returns the server, both pages, and a function that measures the switching
 */
export async function measureSwitching (t: Test) {
  const site = await clientSite(t)
  const [server, browser] = await Promise.all([
    build(t, { env: { FEATURES: 'auth,media,seats,mix', MIX_FROM_LISTENERS: '0', CORS_ORIGINS: site.origin } }),
    openBrowser(t, 440)
  ])
  const bob = await site.open(browser, (page) => page.addInitScript(recordPlayback, measuring))
  const ada = await site.open(browser)
  await enterOn(bob, { url: server.url, roomId: 'r1', id: 2, audio: { play: true } })
  await enterOn(ada, { url: server.url, roomId: 'r1', id: 1 })
  await ada.evaluate(publishSweep, sweep)
  await bob.evaluate(publishTone, ownHz)
  await until(() => bob.evaluate(() => window.flylive?.audio?.reception === 'mix' && window.flylive.audio.heard.length === 1))
  await until(() => bob.evaluate(() => (window.blocks.at(-1)?.level ?? 0) > 0.02), 30_000)
  return {
    server,
    ada,
    bob,
    /**
     * Makes the listener repeatedly take a seat, speak and leave the seat, and analyses the audio that the listener
     * receives.
     *
     * @param rounds how often the listener takes and leaves the seat
     */
    async run (rounds: number): Promise<Switching> {
      await bob.evaluate(() => { window.blocks = [] })
      for (let round = 0; round < rounds; round++) await bob.evaluate(sitAndSpeak)
      return analyse(await bob.evaluate(() => window.blocks))
    }
  }
}

/** Runs in the page. */
async function publishSweep ({ seconds, lowHz, highHz }: typeof sweep): Promise<void> {
  const { audio, seats } = window.flylive as NonNullable<typeof window.flylive>
  await seats.takeFree()
  const context = new AudioContext({ sampleRate: 48_000 })
  const samples = new Float32Array(48_000 * seconds)
  let phase = 0
  for (let i = 0; i < samples.length; i++) {
    samples[i] = 0.3 * Math.sin(phase)
    phase += 2 * Math.PI * (lowHz + (highHz - lowHz) * i / samples.length) / 48_000
  }
  const buffer = new AudioBuffer({ length: samples.length, sampleRate: 48_000 })
  buffer.copyToChannel(samples, 0)
  const [source, output] = [new AudioBufferSourceNode(context, { buffer, loop: true }), context.createMediaStreamDestination()]
  source.connect(output)
  source.start()
  await audio?.publish(output.stream.getAudioTracks()[0] as MediaStreamTrack)
}

/** Runs in the page. The tone is sent only while the user has a seat. */
function publishTone (hz: number): void {
  const context = new AudioContext()
  const output = context.createMediaStreamDestination()
  const tone = new OscillatorNode(context, { frequency: hz })
  tone.connect(new GainNode(context, { gain: 0.05 })).connect(output)
  tone.start()
  window.flylive?.audio?.publish(output.stream.getAudioTracks()[0] as MediaStreamTrack)
}

/** Runs in the page. */
async function sitAndSpeak (): Promise<void> {
  const { audio, connection } = window.flylive as NonNullable<typeof window.flylive>
  const reached = async (is: () => boolean) => {
    const deadline = performance.now() + 20_000
    while (!is()) {
      if (performance.now() > deadline) throw new Error(`reception ${audio?.reception}, heard ${audio?.heard.map(({ producerId }) => producerId)}, microphone ${audio?.microphone}`)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    await new Promise((resolve) => setTimeout(resolve, 300))
  }
  await connection.request('seat:take', { seatIndex: 5 })
  await reached(() => audio?.reception === 'voices' && audio.heard.length === 1 && audio.microphone === 'live')
  await connection.request('seat:leave', {})
  await reached(() => audio?.reception === 'mix' && audio.heard.length === 1 && audio.microphone === 'waiting')
}

/** @returns the length of the longest run of blocks that satisfy `is`, in milliseconds */
function longest (blocks: readonly Block[], is: (block: Block) => boolean): number {
  let [best, run] = [0, 0]
  for (const block of blocks) {
    run = is(block) ? run + 20 : 0
    best = Math.max(best, run)
  }
  return best
}

function analyse (blocks: readonly Block[]): Switching {
  const usual = median(blocks.map(({ level }) => level))
  return {
    gapMs: longest(blocks, ({ level }) => level < usual / 10),
    jumpMs: largestJump(blocks.map((block) => block.level < usual / 10 ? undefined : latenessOf(block))),
    echoMs: longest(blocks, ({ own }) => own > 0.003),
    seconds: Math.round((blocks.at(-1)?.at ?? 0) - (blocks[0]?.at ?? 0))
  }
}

/**
 * @returns how late the block plays the rising tone, in seconds, modulo the tone's length; undefined near the tone's
 *   restart
 */
function latenessOf ({ at, hz }: Block): number | undefined {
  const { seconds, lowHz, highHz } = sweep
  return hz < lowHz * 1.1 || hz > highHz * 0.95 ? undefined : at - (hz - lowHz) / (highHz - lowHz) * seconds
}

/**
 * Divides the blocks into continuous runs and compares the end of each run with the start of the next run. Blocks
 * during a cross-fade, when two tones overlap, belong to no run.
 *
 * @returns the largest jump between runs, in milliseconds
 */
function largestJump (late: readonly (number | undefined)[]): number {
  const { seconds } = sweep
  const difference = (one: number, other: number) => Math.abs(((one - other) % seconds + 1.5 * seconds) % seconds - seconds / 2)
  const runs: { first: number, last: number }[] = []
  let run: number[] = []
  const endRun = () => {
    const [first, last] = [run[0], run.at(-1)]
    if (run.length >= shortestRun && first !== undefined && last !== undefined) runs.push({ first, last })
    run = []
  }
  for (const value of late) {
    const previous = run.at(-1)
    if (value === undefined || (previous !== undefined && difference(value, previous) > continuous)) endRun()
    if (value !== undefined) run.push(value)
  }
  endRun()
  return Math.round(Math.max(0, ...runs.slice(1).map(({ first }, i) => difference(first, runs[i]?.last ?? first) * 1000)))
}

function median (values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
}
