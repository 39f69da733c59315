/**
 * @param track the track to replace when it ends
 * @returns a function for `PublishOptions.reopen`, which opens another microphone with the same audio processing. The
 *   function throws if the track does not come from a microphone: a microphone must not automatically replace other
 *   audio, such as the audio of a shared tab
 */
export function openAnotherMicrophone (track: MediaStreamTrack): () => Promise<MediaStreamTrack> {
  const settings = (track as Partial<MediaStreamTrack>).getSettings?.() ?? {}
  // Check this now, because the list of devices does not contain a microphone that has been unplugged.
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
  // `navigator.mediaDevices` does not exist in Node and on pages without HTTPS.
  const devices = (globalThis.navigator as Partial<Navigator> | undefined)?.mediaDevices
  if (!devices || deviceId === undefined) return false
  const known = await devices.enumerateDevices().catch(() => [])
  return known.some((device) => device.kind === 'audioinput' && device.deviceId === deviceId)
}
