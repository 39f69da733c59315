import { createHash, createHmac, randomBytes, scrypt, timingSafeEqual } from 'node:crypto'
import type { ScryptOptions } from 'node:crypto'
import { promisify } from 'node:util'
import { LRUCache } from 'lru-cache'
import pLimit from 'p-limit'

const derive = promisify<string, Buffer, number, ScryptOptions, Buffer>(scrypt)

/** With these parameters, a hash takes about 16 MB of memory and 30 ms of CPU time. */
const cost = { logN: 14, r: 8, p: 1 }
const saltBytes = 16
const hashBytes = 32

const digest = (text: string) => createHash('sha256').update(text).digest()

/** Compares two unhashed PINs in constant time. */
export const isEqual = (one: string, other: string): boolean => timingSafeEqual(digest(one), digest(other))

/**
 * Limits the number of concurrent hashes, because hashing occupies threads of Node's pool, which file and DNS
 * operations also need.
 */
const limit = pLimit(2)

const scryptHash = (pin: string, salt: Buffer, { logN, r, p }: typeof cost) => limit(() => derive(pin, salt, hashBytes, { N: 2 ** logN, r, p }))

/**
 * Hashes a PIN with a random salt.
 *
 * @returns `scrypt:<log2 N>:<r>:<p>:<salt>:<hash>`
 */
export async function hashPin (pin: string): Promise<string> {
  const salt = randomBytes(saltBytes)
  const hash = await scryptHash(pin, salt, cost)
  return ['scrypt', cost.logN, cost.r, cost.p, salt.toString('base64url'), hash.toString('base64url')].join(':')
}

/** Servers before version 0.2 stored the SHA-256 of the room's id and the PIN. */
const oldHash = (roomId: string, pin: string) => createHash('sha256').update(`${roomId}:${pin}`).digest()

async function matches (roomId: string, pin: string, stored: string): Promise<boolean> {
  const [, logN, r, p, salt = '', hash = ''] = /^scrypt:(\d{1,2}):(\d{1,3}):(\d{1,3}):([\w-]+):([\w-]+)$/.exec(stored) ?? []
  const expected = logN === undefined ? Buffer.from(stored, 'hex') : Buffer.from(hash, 'base64url')
  const given = logN === undefined
    ? oldHash(roomId, pin)
    : await scryptHash(pin, Buffer.from(salt, 'base64url'), { logN: Number(logN), r: Number(r), p: Number(p) })
  return given.length === expected.length && timingSafeEqual(given, expected)
}

/** Compares PINs with stored hashes. */
export interface PinCheck {
  /** @param stored a hash from {@link hashPin} or from an older server */
  matches (roomId: string, pin: string, stored: string): Promise<boolean>
}

/** Maximum number of PINs that a server remembers. */
const maxRemembered = 10_000

/**
 * Creates a check that compares PINs by scrypt until one matches the room's hash. From then on, the check compares
 * HMACs of PINs, so that later joins are cheap. The HMAC's key never leaves this process.
 */
export function createPinCheck (): PinCheck {
  const key = randomBytes(32)
  const keyed = (stored: string, pin: string) => createHmac('sha256', key).update(`${stored}\n${pin}`).digest()
  const right = new LRUCache<string, Buffer>({ maxSize: maxRemembered, sizeCalculation: () => 1 })
  /** Comparisons in progress. Users who join with the same PIN at the same time share one comparison. */
  const comparing = new Map<string, Promise<boolean>>()
  return {
    async matches (roomId, pin, stored) {
      const given = keyed(stored, pin)
      const known = right.get(stored)
      if (known) return timingSafeEqual(given, known)
      const id = given.toString('base64')
      const comparison = comparing.get(id) ?? matches(roomId, pin, stored).finally(() => comparing.delete(id))
      comparing.set(id, comparison)
      const isRight = await comparison
      if (isRight) right.set(stored, given)
      return isRight
    }
  }
}
