import { userKeyOf, z } from 'flylive-audio-server/feature'
import type { FeatureInstance, UserId } from 'flylive-audio-server/feature'

/** A device that the backend can wake with a push notification. */
const device = z.object({ deviceId: z.string(), token: z.string(), updatedAt: z.number() })
export const deviceList = z.array(device)
export type Device = z.output<typeof device>

/** Prefix of the Redis keys; the user's id follows the prefix. The backend reads these keys. */
export const devicesPrefix = 'msab:push-to-talk:devices:'
/** How long a user's push tokens are stored after one of the user's devices has sent a token, in milliseconds. */
const keptMs = 90 * 86_400_000
const maxDevices = 10
const maxTokenLength = 4096

/** The push tokens of users' devices. */
export interface Devices {
  list (user: UserId): Promise<Device[]>
  /**
   * Stores the push token of a device.
   *
   * @param token an empty string removes the device's token
   * @throws UNAVAILABLE
   */
  set (user: UserId, deviceId: string, token: string): Promise<void>
}

export function createDevices ({ clock, kv }: Pick<FeatureInstance, 'clock' | 'kv'>): Devices {
  const stored = kv.plainKeys(devicesPrefix)
  const list = async (user: UserId) => deviceList.catch([]).parse(JSON.parse(await stored.get(userKeyOf(user)) ?? '[]'))
  return {
    list,
    async set (user, deviceId, token) {
      if (token.length > maxTokenLength) return
      // The same push token under another id belongs to the same device: if a radio sends no device id, its id is its
      // JWT, which changes.
      const others = (await list(user)).filter((known) => known.deviceId !== deviceId && known.token !== token)
      const devices = token === '' ? others : [...others, { deviceId, token, updatedAt: clock.now() }].slice(-maxDevices)
      if (devices.length === 0) await stored.delete(userKeyOf(user))
      else await stored.set(userKeyOf(user), JSON.stringify(devices), { ttlMs: keptMs })
    }
  }
}
