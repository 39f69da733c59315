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

  function drop (): void {
    if (!track.value) return
    room.audio?.unpublish()
    track.value.stop()
    track.value = undefined
    meter?.close()
    meter = undefined
  }

  /** @returns whether it is open */
  async function open (): Promise<boolean> {
    if (track.value || opening.value) return track.value !== undefined
    opening.value = true
    try {
      const opened = await openMicrophone(choice)
      if (closed) {
        opened.stop()
        return false
      }
      track.value = opened
      trouble.value = ''
      meter = createMeter(opened)
      opened.addEventListener('ended', () => {
        if (track.value !== opened) return
        drop()
        say(strings.microphone.gone)
      })
      room.audio?.publish(opened).catch(() => { /* 'refused' tells. */ })
      return true
    } catch (error) {
      trouble.value = (error as Error).message
      return false
    } finally {
      opening.value = false
    }
  }

  return {
    track,
    opening,
    trouble,
    open,
    drop,
    /** How loud one is now, from 0 to 1. */
    level: () => room.audio?.sending === true && !room.audio.muted ? meter?.level() ?? 0 : 0,
    close () {
      closed = true
      drop()
    }
  }
}
