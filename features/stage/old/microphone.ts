/** Why there is no microphone, in words for people. */
export class MicrophoneRefused extends Error {
  override readonly name = 'MicrophoneRefused'
}

const words: Record<string, string> = {
  NotAllowedError: 'The browser refused the microphone. Allow it next to the address of this page, then press “Use microphone”.',
  NotFoundError: 'No microphone was found. Plug one in, then press “Use microphone”.',
  NotReadableError: 'The microphone can’t be used now; another program may have it. Close that, then press “Use microphone”.',
  SecurityError: 'This browser lets no page use the microphone.'
}

/**
 * Asks for the microphone.
 *
 * @param original whether to leave the sound as it is, for music; otherwise
 *   the browser removes echo and noise, which suits speech
 * @throws MicrophoneRefused
 */
export async function openMicrophone (original: boolean): Promise<MediaStreamTrack> {
  // Without a secure context the browser hides it altogether.
  if (!navigator.mediaDevices) throw new MicrophoneRefused('Browsers give a microphone only to pages that come over HTTPS, or from this computer (localhost).')
  try {
    const stream = await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: !original, noiseSuppression: !original, autoGainControl: !original }
    })
    return stream.getAudioTracks()[0] as MediaStreamTrack
  } catch (cause) {
    const { name, message } = cause as DOMException
    throw new MicrophoneRefused(words[name] ?? `The microphone can’t be used: ${message}`, { cause })
  }
}
