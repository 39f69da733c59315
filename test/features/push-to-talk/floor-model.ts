import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import { connectRadio } from '../../support/radio.ts'
import type { RadioFrame, TestRadio } from '../../support/radio.ts'
import { until } from '../../support/retry.ts'

const packet = Buffer.from([0xf8, 0xff, 0xfe])
const channel = 5
const claims = { channelIds: [channel] }

/** A pseudo-random generator (mulberry32), so that a failed run can be repeated with the same seed. */
function createRandom (seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

/**
 * Checks the frames that a member of the channel receives.
 *
 * @throws if two users talk at the same time
 */
export function checkTalks (frames: readonly RadioFrame[]): { talks: number } {
  let talker: unknown
  let talks = 0
  for (const [channelType, type, from] of frames) {
    if (channelType !== 0) continue
    if (type === 1) {
      talker = from
      talks++
    } else if (type === 2) {
      if (talker !== from) throw new Error(`STOP of ${String(from)} while ${String(talker)} talks`)
      talker = undefined
    } else if (type === 3 && talker !== from) {
      throw new Error(`AUDIO of ${String(from)} while ${String(talker)} talks`)
    }
  }
  return { talks }
}

export interface FloorPlay {
  steps: number
  /** Default: random. */
  seed?: number
  talkers?: number
  /** A function that is called at random times, for example to kill a server. */
  disturb?: (step: number) => Promise<void>
}

/**
 * Radios on several servers start, talk, stop and disconnect at random. Observers on each server check that only one
 * user talks at a time. In the end, the floor (the right to talk) must be free.
 */
export async function playFloor (t: Test, urls: readonly string[], { steps, seed = Date.now() % 2 ** 31, talkers = 6, disturb }: FloorPlay): Promise<{ talks: number }> {
  t.comment(`seed ${seed}`)
  const random = createRandom(seed)
  const urlOf = (i: number) => urls[i % urls.length] as string
  const observers = await Promise.all(urls.map((url, i) => connectRadio(t, url, `observer${i}`, { claims })))
  const radios: (TestRadio | undefined)[] = await Promise.all(Array.from({ length: talkers }, (_, i) => connectRadio(t, urlOf(i), i, { claims })))

  for (let step = 0; step < steps; step++) {
    const i = random(talkers)
    const radio = radios[i]
    if (!radio || radio.ws.readyState !== radio.ws.OPEN) {
      radios[i] = await connectRadio(t, urlOf(i), i, { claims }).catch(() => undefined)
      continue
    }
    const act = random(20)
    if (act < 7) radio.send(0, 1, i, channel, `start ${step}`)
    else if (act < 15) for (let n = 0; n < 3; n++) radio.send(0, 3, i, channel, packet)
    else if (act < 19) radio.send(0, 2, i, channel)
    else radio.ws.terminate()
    await delay(random(12))
    await disturb?.(step)
    observers.forEach(({ frames }) => checkTalks(frames))
  }

  for (const [i, radio] of radios.entries()) if (radio?.ws.readyState === radio?.ws.OPEN) radio?.send(0, 2, i, channel)
  const last = await connectRadio(t, urlOf(0), 'last', { claims })
  await until(async () => {
    last.send(0, 1, 'last', channel)
    await last.flush()
    return last.frames.some(([, type]) => type === 6)
  }, 20_000)
  await Promise.all(observers.map(async (observer) => observer.ws.readyState === observer.ws.OPEN && await observer.next(1, ([,, from]) => from === 'last')))
  return { talks: observers.map(({ frames }) => checkTalks(frames)).reduce((sum, { talks }) => sum + talks, 0) }
}
