import { ref } from 'vue'
import type { Ref } from 'vue'
import type { RoomAudio } from '@flylive/audio-client'

/** Playback of remote tracks. */
export interface Playback {
  /** Whether the browser blocks playback until the user interacts with the page. */
  blocked: Ref<boolean>
  /** Resumes blocked playback. Must be called after a user interaction. */
  resume (): void
}

/** Plays each remote track in its own audio element. */
export function playAll (audio: RoomAudio | undefined): Playback {
  const elements = new Map<string, HTMLAudioElement>()
  const blocked = ref(false)
  const play = (element: HTMLAudioElement) => element.play().catch((error: Error) => {
    if (error.name === 'NotAllowedError') blocked.value = true
  })
  audio?.on('added', ({ producerId, track }) => {
    const element = new Audio()
    element.srcObject = new MediaStream([track])
    elements.set(producerId, element)
    play(element)
  })
  audio?.on('removed', ({ producerId }) => {
    const element = elements.get(producerId)
    elements.delete(producerId)
    if (element) element.srcObject = null
    if (elements.size === 0) blocked.value = false
  })
  return {
    blocked,
    resume () {
      blocked.value = false
      for (const element of elements.values()) play(element)
    }
  }
}
