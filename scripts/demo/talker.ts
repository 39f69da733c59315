import { codeOf, RoomClient } from '../../client/index.ts'
import type { ReplyData, RequestData, RequestType } from '../../client/index.ts'
import type { Person } from './cast.ts'
import type { Voices } from './voice.ts'
import type { Recording } from './wav.ts'
import { handlerName } from './webrtc.ts'

/** A simulated user, connected like any other client. */
export interface Talker {
  readonly person: Person
  readonly room: RoomClient
  /** The desired state, which `keep()` establishes. While `seated` is undefined, `keep()` leaves the seat unchanged. */
  readonly wants: { present: boolean, seated: boolean | undefined }
  readonly canSpeak: boolean
  /** Changes the actual state to the desired state, as far as the server allows. Never throws. */
  keep (): Promise<void>
  /**
   * Speaks a line if the audio is connected.
   *
   * @returns the line's duration in milliseconds
   */
  speak (recording: Recording): number
  /**
   * Sends a request.
   *
   * @returns undefined if the request fails
   */
  ask<T extends RequestType> (type: T, data: RequestData<T>): Promise<ReplyData<T> | undefined>
}

export interface TalkerOptions {
  person: Person
  roomId: string
  url: string
  token: () => string
  voices: Voices
}

/** Delay before a kicked talker returns, in milliseconds. */
const awayMs = 15_000
/** There are more seats than talkers so that visitors find a free seat. */
const seatCount = 8

export function createTalker ({ person, roomId, url, token, voices }: TalkerOptions): Talker {
  const voice = voices.create()
  // To save CPU time, the talkers do not receive audio.
  const room = new RoomClient({ url, token, audio: { receive: false, handlerName } })
  let notBefore = 0
  let keeping = false

  room.on('participants', () => { voice.on = room.audio?.sending === true })
  room.on('state', (state, why) => {
    if (state === 'out' && ['KICKED', 'BANNED', 'ROOM_CLOSED'].includes(codeOf(why) ?? '')) notBefore = Date.now() + awayMs
  })

  async function correct (): Promise<void> {
    const { audio, seats } = room
    if (!talker.wants.present) return await room.leave()
    if (room.state === 'out' && Date.now() >= notBefore) await room.join(roomId, { seatCount })
    if (room.state !== 'in') return
    // Publish the track for the first time, or again if the server rejected it while the `media` feature was disabled.
    if (audio?.publishing === false) audio.publish(voice.track).catch(() => { /* The next call retries. */ })
    if (!seats.enabled) return
    if (talker.wants.seated === true) await seats.takeFree()
    if (talker.wants.seated === false && seats.own) await room.connection.request('seat:leave', {})
  }

  const talker: Talker = {
    person,
    room,
    wants: { present: true, seated: person.begins === 'seated' },
    get canSpeak () {
      return room.state === 'in' && room.audio?.state === 'on' && room.audio.sending
    },
    async keep () {
      if (keeping) return
      keeping = true
      // Ignore errors, because the next call retries: a feature may be disabled, the room may be full or the server may
      // be down.
      await correct().catch(() => {})
      keeping = false
    },
    speak: (recording) => voice.speak(recording),
    ask: (type, data) => room.connection.request(type, data).catch(() => undefined)
  }
  return talker
}
