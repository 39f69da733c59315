import { addressKey } from '../connections/addresses.ts'
import { PinRequired, RoomLocked } from '../store/errors.ts'
import type { RoomStore } from '../store/store.ts'
import type { RoomRecord } from '../store/types.ts'
import type { Details } from './details.ts'
import type { PinLimits } from './pin-limits.ts'
import { isEqual } from './pins.ts'
import type { PinCheck } from './pins.ts'
import type { Rooms } from './rooms.ts'

export interface PinAccessOptions {
  store: Pick<RoomStore, 'getPinHash' | 'countPin'>
  details: Pick<Details, 'readAccess'>
  pins: PinCheck
  limits: PinLimits
}

/** Checks PINs for requests that do not join the room, such as listening to a broadcast. */
export function createPinAccess ({ store, details, pins, limits }: PinAccessOptions): Pick<Rooms, 'hasPin' | 'checkPin'> {
  /** @returns the hash of the required PIN; null if the room admits nobody; undefined if the room admits everyone */
  async function requiredHash ({ roomId, locked }: RoomRecord): Promise<string | null | undefined> {
    const { admits, pinHash } = await details.readAccess(roomId) ?? {}
    if (admits === 'everyone') return undefined
    if (admits === 'nobody') return null
    if (admits === 'pin') return pinHash ?? null
    return locked ? await store.getPinHash(roomId) ?? null : undefined
  }

  return {
    hasPin: async (room) => typeof await requiredHash(room) === 'string',
    async checkPin ({ room, pin, fallback, address }) {
      const stored = await requiredHash(room)
      if (stored === undefined && fallback === undefined) return
      if (stored === null) throw new RoomLocked()
      if (pin === undefined) throw new PinRequired()
      await limits.limit(address, room.roomId, async () => {
        const isRight = stored === undefined ? isEqual(pin, fallback as string) : await pins.matches(room.roomId, pin, stored)
        await store.countPin(room.roomId, address === undefined ? undefined : addressKey(address), isRight)
      })
    }
  }
}
