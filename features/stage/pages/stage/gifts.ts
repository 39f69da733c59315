import { strings } from '../strings.ts'

/** A gift of the stage's own shop window. What gifts there are and what they cost is the backend's to say. */
export interface Gift {
  giftId: number
  name: string
  picture: string
}

const pictures: Readonly<Record<number, string>> = { 1: '🌹', 2: '☕', 3: '⭐', 4: '🚀', 5: '👑' }

export const gifts: readonly Gift[] = Object.keys(pictures).map((id) => giftOf(Number(id)))

/** @returns how to show a gift, also one that only others know */
export function giftOf (giftId: number): Gift {
  return { giftId, name: strings.gifts.names[giftId] ?? strings.gifts.unknown, picture: pictures[giftId] ?? '🎁' }
}
