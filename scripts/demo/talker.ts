import { codeOf, RoomClient } from '../../client/index.ts'
import type { ReplyData, RequestData, RequestType } from '../../client/index.ts'
import type { Person } from './cast.ts'
import type { Voices } from './voice.ts'
import type { Recording } from './wav.ts'
import { handlerName } from './webrtc.ts'

/** Somebody of the cast, in a room like any other client. */
export interface Talker {
  readonly person: Person
  readonly room: RoomClient
  /** What there should be; `keep()` brings it about. A seat that is neither wanted nor not is left as it is. */
  readonly wants: { present: boolean, seated: boolean | undefined }
  readonly canSpeak: boolean
  /** Makes what is the case what is wanted, as far as the server lets it. Never throws. */
  keep (): Promise<void>
  /**
   * Says something, if it can be heard.
   *
   * @returns how long that takes, in milliseconds
   */
  speak (recording: Recording): number
  /** Asks the server for something; what is refused or fails is left at that, and is undefined. */
  ask<T extends RequestType> (type: T, data: RequestData<T>): Promise<ReplyData<T> | undefined>
}

export interface TalkerOptions {
  person: Person
  roomId: string
  url: string
  token: () => string
  voices: Voices
}

/** Who was sent away does not stand at the door again at once. In milliseconds. */
const awayMs = 15_000
/** Leaves seats free for visitors. */
const seatCount = 8

export function createTalker ({ person, roomId, url, token, voices }: TalkerOptions): Talker {
  const voice = voices.create()
  // What the others say costs CPU, and nobody here listens.
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
    // Taken back when the server refused it, once the feature was off say.
    if (audio?.publishing === false) audio.publish(voice.track).catch(() => { /* The next time. */ })
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
      // A feature may be off, the room full, the server gone: it is tried again.
      await correct().catch(() => {})
      keeping = false
    },
    speak: (recording) => voice.speak(recording),
    ask: (type, data) => room.connection.request(type, data).catch(() => undefined)
  }
  return talker
}
