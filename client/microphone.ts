/**
 * @param track the track to replace when it ends
 * @returns a function that opens another microphone with the same audio processing, for `PublishOptions.reopen`; it
 *   throws if the track does not come from a microphone. Other audio, such as a shared tab, must not be replaced with a
 *   microphone automatically
 */
export function openAnotherMicrophone (track: MediaStreamTrack): () => Promise<MediaStreamTrack> {
  const settings = (track as Partial<MediaStreamTrack>).getSettings?.() ?? {}
  // Read this now: an unplugged microphone is no longer listed.
  const isMicrophone = comesFromMicrophone(settings)
  return async () => {
    if (!await isMicrophone) throw new Error('The track does not come from a microphone')
    const { echoCancellation, noiseSuppression, autoGainControl } = settings
    const processing = Object.fromEntries(Object.entries({ echoCancellation, noiseSuppression, autoGainControl }).filter(([, value]) => value !== undefined))
    const stream = await navigator.mediaDevices.getUserMedia({ audio: processing })
    return stream.getAudioTracks()[0] as MediaStreamTrack
  }
}

async function comesFromMicrophone ({ deviceId }: MediaTrackSettings): Promise<boolean> {
  // Node and insecure pages have no media devices.
  const devices = (globalThis.navigator as Partial<Navigator> | undefined)?.mediaDevices
  if (!devices || deviceId === undefined) return false
  const known = await devices.enumerateDevices().catch(() => [])
  return known.some((device) => device.kind === 'audioinput' && device.deviceId === deviceId)
}
