import { ref, shallowRef } from 'vue'
import type { RoomClient } from '@flylive/audio-client'
import { strings } from '../strings.ts'
import { createMeter, openMicrophone } from './microphone.ts'
import type { Meter, MicrophoneChoice } from './microphone.ts'

/** The own microphone in a room. It is open only while one may be heard. */
export type Voice = ReturnType<typeof createVoice>

/** @param say tells the user what has become of the microphone */
export function createVoice (room: RoomClient, choice: MicrophoneChoice, say: (text: string) => void) {
  const track = shallowRef<MediaStreamTrack>()
  const opening = ref(false)
  /** Why there is no microphone, and what helps. */
  const trouble = ref('')
  let meter: Meter | undefined
  let closed = false
  /** Whether it is to be open; while the browser asks for permission a seat or the room may be left. */
  let wanted = false
  let underWay: Promise<boolean> | undefined

  function drop (): void {
    wanted = false
    if (!track.value) return
    room.audio?.unpublish()
    track.value.stop()
    track.value = undefined
    meter?.close()
    meter = undefined
  }

  function use (opened: MediaStreamTrack): void {
    track.value = opened
    trouble.value = ''
    meter = createMeter(opened)
    opened.addEventListener('ended', () => {
      if (track.value !== opened) return
      drop()
      say(strings.microphone.gone)
    })
    room.audio?.publish(opened).catch(() => { /* 'refused' tells. */ })
  }

  async function openNow (): Promise<boolean> {
    opening.value = true
    try {
      const opened = await openMicrophone(choice)
      if (!wanted) {
        opened.stop()
        return false
      }
      use(opened)
      return true
    } catch (error) {
      if (wanted) trouble.value = (error as Error).message
      return false
    } finally {
      opening.value = false
      underWay = undefined
    }
  }

  return {
    track,
    opening,
    trouble,
    /**
     * Idempotent: the browser asks for permission once.
     *
     * @returns whether it is open now; not so when it was dropped meanwhile
     */
    async open (): Promise<boolean> {
      if (closed) return false
      wanted = true
      if (track.value) return true
      underWay ??= openNow()
      return await underWay
    },
    drop,
    /** How loud one is now, from 0 to 1. */
    level: () => room.audio?.sending === true && !room.audio.muted ? meter?.level() ?? 0 : 0,
    /** For good: also when the browser still asks for permission. */
    close () {
      closed = true
      drop()
    }
  }
}
