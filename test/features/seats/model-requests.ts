import { rules } from './model-rules.ts'
import type { Request, Role } from './model-rules.ts'
import type { View } from './view.ts'

// Generates random requests from users in a room.

/** Returns a number in [0, 1); the seed determines the sequence of numbers. */
export type Random = () => number

export function randomFrom (seed: number): Random {
  let state = seed >>> 0
  // Mulberry32
  return () => {
    state = (state + 0x6D2B79F5) >>> 0
    let value = Math.imul(state ^ (state >>> 15), state | 1)
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61)
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32
  }
}

export const pick = <T>(random: Random, items: readonly T[]): T => items[Math.floor(random() * items.length)] as T

/** Relative frequency of each request type. Users mostly send requests that their role permits. */
const weights: Record<'ordinary' | 'privileged', Readonly<Record<string, number>>> = {
  ordinary: { 'seat:take': 12, 'seat:leave': 2, 'seat:invite:accept': 6, 'seat:invite:decline': 2, 'seat:request': 4, 'seat:request:cancel': 2 },
  privileged: {
    'seat:take': 2,
    'seat:leave': 0.5,
    'seat:assign': 3,
    'seat:remove': 2,
    'seat:lock': 2,
    'seat:unlock': 4,
    'seat:mute': 3,
    'seat:unmute': 3,
    'seat:invite': 6,
    'seat:request:cancel': 2
  }
}
const otherwise = 0.7

function randomType (random: Random, role: Role): string {
  const mine = weights[role === 'member' ? 'ordinary' : 'privileged']
  const types = Object.keys(rules)
  let left = random() * types.reduce((sum, type) => sum + (mine[type] ?? otherwise), 0)
  return types.find((type) => (left -= mine[type] ?? otherwise) < 0) ?? 'seat:take'
}

export interface Asker {
  key: string
  role: Role
  /** The client's view, which may be stale. */
  view: View
  roomId: string
  roomIds: readonly string[]
  people: readonly string[]
  /** The users in the same room. */
  mates: readonly string[]
}

/** Returns a request that usually fits the view, and is sometimes invalid. */
export function randomRequest (random: Random, { key, role, view, roomId, roomIds, people, mates }: Asker): Request {
  const invites = [...view.invites].filter(([, user]) => String(user) === key).map(([index]) => index)
  const wanted = randomType(random, role)
  // Rarely answer an invite that the user does not have.
  const type = wanted.startsWith('seat:invite:') && invites.length === 0 && random() < 0.8 ? 'seat:take' : wanted
  const rule = rules[type]
  const data: Request['data'] = {}
  const odd = random()
  if (odd < 0.15 && roomId !== '') data.roomId = roomId
  else if (odd < 0.18) data.roomId = pick(random, roomIds)

  if (rule?.seatIndex !== undefined) {
    const all = Array.from({ length: view.seatCount }, (_, i) => i)
    const likely = type === 'seat:unlock' ? [...view.locked] : rule.seatIndex === 'optional' ? invites : all.filter((i) => !view.seats.has(i) && !view.locked.has(i))
    const dice = random()
    if (dice < 0.01) data.seatIndex = pick<unknown>(random, [-1, 1.5, '1', null, 2 ** 60])
    else if (rule.seatIndex === 'optional' && dice < 0.6) delete data.seatIndex
    else if (likely.length > 0 && dice < 0.6) data.seatIndex = pick(random, likely)
    else data.seatIndex = Math.floor(random() * (view.seatCount + 0.5))
  }
  if (rule?.userId === 'needed' || (rule?.userId === 'optional' && random() < (role === 'member' ? 0.3 : 0.8))) {
    const seated = [...view.seats.values()].map(({ userId }) => String(userId))
    const likely = rule.userId === 'optional' ? view.requests : rule.seatIndex === undefined ? seated : mates
    const dice = random()
    const target = dice < 0.03 ? key : dice < 0.05 ? 'nobody' : likely.length > 0 && dice < 0.85 ? pick(random, likely) : pick(random, people)
    // A user id may be sent as a number or as a string; both stand for the same user.
    data.userId = dice > 0.99 ? pick<unknown>(random, [null, '', [target], 'x'.repeat(129)]) : random() < 0.5 && /^\d+$/.test(target) ? Number(target) : target
  }
  return { type, data }
}
