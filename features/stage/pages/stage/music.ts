import { ref } from 'vue'
import type { RoomClient } from '@flylive/audio-client'
import { strings } from '../strings.ts'

/** An audio file that the user plays to everyone in the room. */
export type Music = ReturnType<typeof createMusic>

interface Playing {
  element: HTMLAudioElement
  context: AudioContext
  track: MediaStreamTrack
}

/** @param say shows the user a message */
export function createMusic (room: RoomClient, say: (text: string) => void) {
  /** Name of the shared file; empty if there is none. */
  const name = ref('')
  let playing: Playing | undefined

  function release ({ element, context, track }: Playing): void {
    element.pause()
    URL.revokeObjectURL(element.src)
    track.stop()
    context.close().catch(() => { /* The audio context is already closed. */ })
  }

  function stop (): void {
    if (!playing) return
    release(playing)
    playing = undefined
    name.value = ''
    room.audio?.unpublish('music')
  }

  return {
    name,
    /**
     * Plays a file to this user and, as long as this user is allowed to speak, to everyone else in the room. Stops the
     * previous file.
     */
    async share (file: File): Promise<void> {
      stop()
      say('')
      const context = new AudioContext()
      const element = new Audio(URL.createObjectURL(file))
      const output = context.createMediaStreamDestination()
      const source = context.createMediaElementSource(element)
      source.connect(output)
      source.connect(context.destination)
      const opened = playing = { element, context, track: output.stream.getAudioTracks()[0] as MediaStreamTrack }
      element.addEventListener('ended', () => { if (playing === opened) stop() })
      try {
        await element.play()
      } catch {
        if (playing !== opened) return
        stop()
        return say(strings.sound.musicFailed)
      }
      if (playing !== opened) return
      name.value = file.name
      room.audio?.publish(opened.track, { source: 'music', reopen: false }).catch(() => { /* The `refused` event reports the reason. */ })
    },
    stop
  }
}
