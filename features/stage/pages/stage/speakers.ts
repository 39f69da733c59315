/** @returns the available speakers; empty if the browser cannot select one, or has no microphone permission */
export async function listSpeakers (): Promise<MediaDeviceInfo[]> {
  if (!('setSinkId' in HTMLMediaElement.prototype)) return []
  const devices = await (navigator.mediaDevices as MediaDevices | undefined)?.enumerateDevices().catch(() => []) ?? []
  return devices.filter(({ kind, deviceId }) => kind === 'audiooutput' && deviceId !== '' && deviceId !== 'default')
}
