import { strings } from '../strings.ts'

/** A gift in the demo catalogue of these pages. In production, the backend defines the gifts and their prices. */
export interface Gift {
  giftId: number
  name: string
  picture: string
}

const pictures: Readonly<Record<number, string>> = { 1: '🌹', 2: '☕', 3: '⭐', 4: '🚀', 5: '👑' }

export const gifts: readonly Gift[] = Object.keys(pictures).map((id) => giftOf(Number(id)))

/** @returns the name and picture of a gift, with defaults for gifts outside the catalogue */
export function giftOf (giftId: number): Gift {
  return { giftId, name: strings.gifts.names[giftId] ?? strings.gifts.unknown, picture: pictures[giftId] ?? '🎁' }
}
