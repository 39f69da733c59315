import { rateLimited } from '../../errors/codes.ts'
import { PinRequired, PinWrong } from '../errors.ts'
import { pinTries, pinWindowMs } from '../store.ts'
import type { JoinCommand } from '../types.ts'

/** Checks pins and counts the wrong ones per user and room. */
export interface PinCheck {
  /** @throws PIN_REQUIRED, PIN_WRONG, RATE_LIMITED */
  check (pinHash: string, command: JoinCommand): void
}

export function createPinCheck (): PinCheck {
  const wrong = new Map<string, { count: number, since: number }>()

  function removeExpired (now: number): void {
    // The insertion order is the order of time.
    for (const [key, { since }] of wrong) {
      if (now - since < pinWindowMs) break
      wrong.delete(key)
    }
  }

  return {
    check (pinHash, command) {
      removeExpired(command.now)
      const key = `${command.roomId} ${command.userKey}`
      const tries = wrong.get(key) ?? { count: 0, since: command.now }
      if (tries.count >= pinTries) throw rateLimited(tries.since + pinWindowMs - command.now)
      if (command.pinHash === undefined) throw new PinRequired()
      if (command.pinHash === pinHash) return
      tries.count++
      wrong.set(key, tries)
      throw new PinWrong()
    }
  }
}
