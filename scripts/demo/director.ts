import { setTimeout as delay } from 'node:timers/promises'
import { between, happens, oneOf, shuffled } from './chance.ts'
import type { Host } from './host.ts'
import { asides, fileOf } from './script.ts'
import type { Beat, Line, RoomScript, Topic } from './script.ts'
import type { Talker } from './talker.ts'
import type { Recording } from './wav.ts'

export interface DirectorOptions {
  script: RoomScript
  /** The room's talkers, the owner first. */
  talkers: readonly Talker[]
  host: Host
  /** Recordings by file name. */
  recordings: ReadonlyMap<string, Recording>
}

/** How long to wait for a speaker whose audio is not ready, in milliseconds. */
const speechlessMs = 4000
/** How long the conversation waits for a visitor who is speaking, in milliseconds. */
const visitorMs = 60_000
/** How long a talker with a raised hand waits for an invite, in milliseconds. */
const askingMs = 12_000

/** Plays the room's conversation in an endless loop. Rejected requests do not stop the loop. */
export async function direct ({ script, talkers, host, recordings }: DirectorOptions): Promise<never> {
  const byKey = new Map(talkers.map((talker) => [talker.person.key, talker]))
  const fits = ({ needs }: Topic) => needs.every((key) => byKey.has(key))

  if (fits(script.opening)) await play(script.opening)
  for (;;) {
    for (const topic of shuffled(script.topics.filter(fits))) {
      await delay(between(...script.pauseMs))
      await play(topic)
    }
    await delay(between(...script.pauseMs))
  }

  async function play ({ beats }: Topic): Promise<void> {
    // Skip the steps of the conversation that involve absent talkers.
    const here = beats.filter((beat) => Object.entries(beat).every(([what, who]) => !['who', 'whom', 'to'].includes(what) || byKey.has(String(who))))
    for (const [index, beat] of here.entries()) await perform(beat, here[index + 1])
  }

  async function perform (beat: Beat, next: Beat | undefined): Promise<void> {
    if (beat.does === 'wait') return await delay(beat.ms)
    const talker = byKey.get(beat.who) as Talker
    switch (beat.does) {
      case 'say': return await say(talker, beat, next?.does === 'say' ? next : undefined)
      // Chat messages, reactions and gifts do not interrupt the speech.
      case 'chat': return later(between(500, 2200), () => talker.ask('chat:message', { content: beat.text }))
      case 'react': return later(between(200, 1200), () => talker.ask('room:react', { emoji: beat.emoji }))
      case 'give': {
        const { giftId, quantity = 1 } = beat
        const recipientId = byKey.get(beat.to)?.person.userId ?? 0
        return later(between(300, 1500), () => talker.room.gifts.send({ giftId, recipientId, quantity }).catch(() => {}))
      }
      case 'askToSpeak': return await askToSpeak(talker)
      case 'sitDown':
      case 'getUp':
        talker.wants.seated = beat.does === 'sitDown'
        return await talker.keep()
      case 'leave':
      case 'return':
        talker.wants.present = beat.does === 'return'
        // A talker who returns is a listener until a later step of the script gives that talker a seat.
        talker.wants.seated = false
        await talker.keep()
        return await delay(between(400, 1200))
      case 'silence':
      case 'unsilence': {
        const userId = byKey.get(beat.whom)?.person.userId ?? 0
        await talker.ask(beat.does === 'silence' ? 'seat:mute' : 'seat:unmute', { userId })
      }
    }
  }

  async function say (talker: Talker, line: Line, next: Line | undefined): Promise<void> {
    await until(() => !host.visitorSpeaks, visitorMs)
    if (!await until(() => talker.canSpeak, speechlessMs)) return
    if (talker.room.audio?.muted === true) {
      talker.room.audio.unmute()
      await delay(between(300, 700))
    }
    const recording = recordings.get(fileOf(line))
    if (!recording) throw new Error(`No recording of ${fileOf(line)}`)
    const ms = talker.speak(recording)
    react(talker, line, ms)
    if (next?.early === undefined && ms > speechlessMs && happens(0.25)) throwIn(talker, next, ms)
    if (next?.who !== line.who && happens(0.35)) later(ms + between(600, 1500), () => talker.room.audio?.mute())
    await delay(next?.early === undefined ? ms + between(...script.breathMs) : ms - next.early)
  }

  function react (speaker: Talker, { mood }: Line, ms: number): void {
    for (const talker of talkers) {
      if (talker === speaker || !happens(mood === undefined ? 0.1 : 0.45)) continue
      later(between(0.5 * ms, ms + 1200), () => talker.ask('room:react', { emoji: mood ?? oneOf(talker.person.likes) }))
    }
  }

  /** Plays the interjection of another talker while `speaker` speaks. */
  function throwIn (speaker: Talker, next: Line | undefined, ms: number): void {
    const able = asides.flatMap((aside) => {
      const talker = byKey.get(aside.who)
      const recording = recordings.get(fileOf(aside))
      return talker && recording && talker !== speaker && aside.who !== next?.who && talker.canSpeak ? [{ talker, recording }] : []
    })
    if (able.length === 0) return
    const { talker, recording } = oneOf(able)
    talker.room.audio?.unmute()
    later(ms * between(0.6, 0.85), () => talker.speak(recording))
  }

  /** Raises a talker's hand and waits for the owner's invite. */
  async function askToSpeak (talker: Talker): Promise<void> {
    const { room, wants } = talker
    if (room.seats.enabled && !room.seats.own) {
      wants.seated = undefined
      await talker.ask('seat:request', {})
      if (await until(() => room.seats.invitation !== undefined, askingMs)) {
        await delay(between(700, 1800))
        await talker.ask('seat:invite:accept', {})
      } else {
        await talker.ask('seat:request:cancel', {})
      }
    }
    // Without an invite, the talker takes a free seat.
    wants.seated = true
    await talker.keep()
  }
}

/** Runs a function after a delay without blocking the conversation. */
function later (ms: number, act: () => unknown): void {
  setTimeout(act, ms)
}

/** @returns whether the condition became true before the timeout */
async function until (isSo: () => boolean, ms: number): Promise<boolean> {
  for (const end = Date.now() + ms; !isSo(); await delay(100)) if (Date.now() > end) return false
  return true
}
