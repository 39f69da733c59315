import { strings } from '../strings.ts'
import { kept } from './storage.ts'

/** Microphone settings, kept in the browser. */
export interface MicrophoneChoice {
  /** Device id; empty for the browser's default. */
  deviceId: string
  /** Whether to send unprocessed audio, for music. */
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
 * Opens the microphone.
 *
 * @returns the track, which the caller must stop
 * @throws Error with a message that tells the user how to solve the problem
 */
export async function openMicrophone ({ deviceId, original }: MicrophoneChoice): Promise<MediaStreamTrack> {
  // Browsers expose `mediaDevices` only in secure contexts.
  const devices = navigator.mediaDevices as MediaDevices | undefined
  if (!devices) throw new Error(window.isSecureContext ? strings.microphone.unsupported : strings.microphone.insecure)
  const processing = { echoCancellation: !original, noiseSuppression: !original, autoGainControl: !original }
  // With `ideal`, the browser uses another microphone if the chosen microphone was unplugged.
  const device = deviceId === '' ? {} : { deviceId: { ideal: deviceId } }
  try {
    const stream = await devices.getUserMedia({ audio: { ...processing, ...device } })
    return stream.getAudioTracks()[0] as MediaStreamTrack
  } catch (cause) {
    throw new Error(words[(cause as Error).name] ?? strings.microphone.busy, { cause })
  }
}

/** @returns the available microphones; browsers hide the names until the user grants permission */
export async function listMicrophones (): Promise<MediaDeviceInfo[]> {
  const devices = await (navigator.mediaDevices as MediaDevices | undefined)?.enumerateDevices().catch(() => []) ?? []
  return devices.filter(({ kind, deviceId }) => kind === 'audioinput' && deviceId !== '' && deviceId !== 'default')
}

/** A level meter for a track. */
export interface Meter {
  /** The current level, 0 to 1. */
  level (): number
  close (): void
}

/**
 * @returns undefined if the browser cannot measure the track; Firefox, for example, requires equal input and output
 *   sample rates
 */
export function createMeter (track: MediaStreamTrack): Meter | undefined {
  const context = new AudioContext()
  const close = () => { context.close().catch(() => { /* The context is already closed. */ }) }
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
 * @param level measured level, 0 to 1
 * @returns the length of the bar or ring, from 0 (-50 dB) to 1 (-10 dB); speech is in this range
 */
export function loudness (level: number): number {
  return level <= 0 ? 0 : Math.min(1, Math.max(0, (20 * Math.log10(level) + 50) / 40))
}
