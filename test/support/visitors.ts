import type { Test } from 'tap'
import { RoomClient } from '../../client/index.ts'
import type { ReceiveMode } from '../../client/index.ts'
import { tokenFor } from './build.ts'
import { followSound } from './sound.ts'
import type { Sound } from './sound.ts'
import { createTone } from './wrtc.ts'

const backoff = { firstMs: 100, longestMs: 500 }

/** A listening client and the sound that it receives from each user. */
export interface Listener extends Sound {
  room: RoomClient
}

export interface Place {
  /** Default: r1. */
  roomId?: string
  /**
   * Each speaker's frequency in hertz, by user id. Default: 500 Hz for all speakers, so the mix does not identify the
   * speakers.
   */
  tones?: Readonly<Record<number, number>>
}

/** Users who speak and listen in Node until the test ends. */
export interface Visitors {
  /** Connects a user who takes a seat and sends a tone. */
  speak (url: string, id: number, place?: Place): Promise<RoomClient>
  /** Connects a user who listens. `receive` is `voices` by default. */
  listen (url: string, id: number, options?: Place & { receive?: ReceiveMode }): Promise<Listener>
}

export function createVisitors (t: Test): Visitors {
  async function enter (url: string, id: number, receive: ReceiveMode, { roomId = 'r1' }: Place) {
    const room = new RoomClient({ url, token: () => tokenFor(id), audio: { handlerName: 'Chrome111', receive }, backoff })
    t.teardown(() => room.close())
    await room.join(roomId)
    return room
  }
  return {
    async speak (url, id, place = {}) {
      const room = await enter(url, id, false, place)
      await room.seats.takeFree()
      await room.audio?.publish(createTone(t, place.tones?.[id]))
      return room
    },
    async listen (url, id, { receive = 'voices', ...place } = {}) {
      const room = await enter(url, id, receive, place)
      return { room, ...followSound(t, room, place.tones) }
    }
  }
}
