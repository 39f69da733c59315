import { strings } from '../strings.ts'
import { kept } from './storage.ts'

/** How to open the microphone; kept in the browser for the next time. */
export interface MicrophoneChoice {
  /** Of a device; the browser's own choice when empty. */
  deviceId: string
  /** As it is recorded: for music. */
  original: boolean
}

const words: Readonly<Record<string, string>> = {
  NotAllowedError: strings.microphone.refused,
  SecurityError: strings.microphone.refused,
  NotFoundError: strings.microphone.missing,
  OverconstrainedError: strings.microphone.missing,
  NotReadableError: strings.microphone.busy,
  AbortError: strings.microphone.busy
}

export function loadChoice (): MicrophoneChoice {
  return { deviceId: kept.get('microphone') ?? '', original: kept.get('original') === 'true' }
}

export function saveChoice ({ deviceId, original }: MicrophoneChoice): void {
  kept.set('microphone', deviceId)
  kept.set('original', String(original))
}

/**
 * Asks for the microphone.
 *
 * @returns its track; whoever gets it stops it
 * @throws Error whose message tells a user what they can do
 */
export async function openMicrophone ({ deviceId, original }: MicrophoneChoice): Promise<MediaStreamTrack> {
  // Browsers have it on safe pages only.
  const devices = navigator.mediaDevices as MediaDevices | undefined
  if (!devices) throw new Error(window.isSecureContext ? strings.microphone.unsupported : strings.microphone.insecure)
  const processing = { echoCancellation: !original, noiseSuppression: !original, autoGainControl: !original }
  // A device that was unplugged since is no reason to have none.
  const device = deviceId === '' ? {} : { deviceId: { ideal: deviceId } }
  try {
    const stream = await devices.getUserMedia({ audio: { ...processing, ...device } })
    return stream.getAudioTracks()[0] as MediaStreamTrack
  } catch (cause) {
    throw new Error(words[(cause as Error).name] ?? strings.microphone.busy, { cause })
  }
}

/** @returns the microphones there are; they have names only once one was opened */
export async function listMicrophones (): Promise<MediaDeviceInfo[]> {
  const devices = await (navigator.mediaDevices as MediaDevices | undefined)?.enumerateDevices().catch(() => []) ?? []
  return devices.filter(({ kind, deviceId }) => kind === 'audioinput' && deviceId !== '' && deviceId !== 'default')
}

/** Measures how loud a track is. */
export interface Meter {
  /** Now, from 0 to 1. */
  level (): number
  close (): void
}

/** @returns undefined where the browser cannot measure it: Firefox has no sources of another sample rate than the speakers' */
export function createMeter (track: MediaStreamTrack): Meter | undefined {
  const context = new AudioContext()
  const close = () => { context.close().catch(() => { /* It is closed already. */ }) }
  const analyser = new AnalyserNode(context, { fftSize: 1024 })
  try {
    context.createMediaStreamSource(new MediaStream([track])).connect(analyser)
  } catch {
    close()
    return undefined
  }
  const samples = new Float32Array(analyser.fftSize)
  return {
    level () {
      analyser.getFloatTimeDomainData(samples)
      const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length
      return Math.sqrt(power)
    },
    close
  }
}

/**
 * @param level as measured, from 0 to 1
 * @returns how far a bar or a ring goes, from 0 to 1: from -50 to -10 dB, where speech is
 */
export function loudness (level: number): number {
  return level <= 0 ? 0 : Math.min(1, Math.max(0, (20 * Math.log10(level) + 50) / 40))
}
