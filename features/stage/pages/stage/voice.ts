import { ref, shallowRef } from 'vue'
import type { RoomClient } from '@flylive/audio-client'
import { strings } from '../strings.ts'
import { createMeter, openMicrophone } from './microphone.ts'
import type { Meter, MicrophoneChoice } from './microphone.ts'

/** The user's microphone in a room. */
export type Voice = ReturnType<typeof createVoice>

/** @param say shows the user a message about the microphone */
export function createVoice (room: RoomClient, choice: MicrophoneChoice, say: (text: string) => void) {
  const track = shallowRef<MediaStreamTrack>()
  const opening = ref(false)
  /** Why the page cannot use the microphone, and what the user can do about this; empty if there is no problem. */
  const trouble = ref('')
  let meter: Meter | undefined
  let closed = false
  /** Whether the microphone should be open: false if the user leaves the seat while the browser asks for permission. */
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
    room.audio?.publish(opened, { reopen: () => openMicrophone(choice) }).catch(() => { /* The `refused` event reports the reason. */ })
  }

  room.audio?.on('replaced', (opened) => {
    track.value?.stop()
    meter?.close()
    track.value = opened
    meter = createMeter(opened)
    say(strings.microphone.replaced)
  })

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
     * Opens the microphone. Idempotent: the browser asks for permission only once.
     *
     * @returns whether the microphone is open; false after an error, or if it is closed before the user grants
     *   permission
     */
    async open (): Promise<boolean> {
      if (closed) return false
      wanted = true
      if (track.value) return true
      underWay ??= openNow()
      return await underWay
    },
    drop,
    /** The user's current level, 0 to 1. */
    level: () => room.audio?.sending === true && !room.audio.muted ? meter?.level() ?? 0 : 0,
    /** Closes the microphone permanently, even while the browser is still asking for permission. */
    close () {
      closed = true
      drop()
    }
  }
}
