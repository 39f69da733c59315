import type { RoomAudio } from '../../../client/index.ts'

/** Plays everyone who is heard, each through an element of their own. */
export function playAll (audio: RoomAudio): void {
  const elements = new Map<string, HTMLAudioElement>()
  audio.on('added', ({ producerId, track }) => {
    const element = new Audio()
    element.autoplay = true
    element.srcObject = new MediaStream([track])
    elements.set(producerId, element)
  })
  audio.on('removed', ({ producerId }) => {
    const element = elements.get(producerId)
    elements.delete(producerId)
    if (element) element.srcObject = null
  })
}
