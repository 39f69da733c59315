/** Plays one track at a given volume on a selected speaker. */
export interface Output {
  /** @param volume 0 to 1 */
  setVolume (volume: number): void
  /** @throws DOMException */
  setSpeaker (deviceId: string): Promise<void>
  /** @throws NotAllowedError if the browser blocks playback until the user interacts with the page */
  play (): Promise<void>
  close (): void
}

/** A media element or an audio context. In some browsers, `setSinkId` does not exist. */
interface Sink {
  setSinkId?: (deviceId: string) => Promise<void>
}

async function select (sink: Sink, deviceId: string): Promise<void> {
  if (sink.setSinkId) await sink.setSinkId(deviceId)
  else if (deviceId !== '') throw new DOMException('This browser cannot select a speaker', 'NotSupportedError')
}

/** @param track if omitted, the output plays nothing and only serves to check whether a speaker can be selected */
export function createOutput (track?: MediaStreamTrack): Output {
  const element = new Audio()
  if (track) element.srcObject = new MediaStream([track])
  if (track && !hasVolume(element)) return createGain(element, track)
  return {
    setVolume: (volume) => { element.volume = volume },
    setSpeaker: (deviceId) => select(element, deviceId),
    play: () => element.play(),
    close: () => { element.srcObject = null }
  }
}

/** Whether the element's volume can be changed. Safari on iOS ignores changes. */
function hasVolume (element: HTMLAudioElement): boolean {
  element.volume = 0.5
  const isKept = element.volume === 0.5
  element.volume = 1
  return isKept
}

/** Creates an output that sets the volume with Web Audio. */
function createGain (element: HTMLAudioElement, track: MediaStreamTrack): Output {
  const context = new AudioContext()
  const gain = new GainNode(context)
  const source = context.createMediaStreamSource(new MediaStream([track]))
  source.connect(gain).connect(context.destination)
  // Browsers decode a remote track only while an element plays it.
  element.muted = true
  return {
    setVolume: (volume) => { gain.gain.value = volume },
    setSpeaker: (deviceId) => select(context as Sink, deviceId),
    async play () {
      await element.play()
      // If the user has not interacted with the page, `resume` never settles, so throw an error instead.
      if (context.state === 'suspended' && navigator.userActivation?.hasBeenActive === false) throw new DOMException('The user has not interacted with the page yet', 'NotAllowedError')
      await context.resume()
    },
    close () {
      element.srcObject = null
      source.disconnect()
      context.close().catch(() => { /* The audio context is already closed. */ })
    }
  }
}
