/**
 * @returns the available speakers; empty if the browser cannot select a speaker or has no permission to use the
 *   microphone
 */
export async function listSpeakers (): Promise<MediaDeviceInfo[]> {
  if (!('setSinkId' in HTMLMediaElement.prototype)) return []
  const devices = await (navigator.mediaDevices as MediaDevices | undefined)?.enumerateDevices().catch(() => []) ?? []
  return devices.filter(({ kind, deviceId }) => kind === 'audiooutput' && deviceId !== '' && deviceId !== 'default')
}
