import type { Participant, UserId } from '../../../client/index.ts'

/** Colours, in turn. */
const faces = 6

const given = new Map<string, number>()

export function nameOf ({ profile, userId }: Pick<Participant, 'profile' | 'userId'>): string {
  return typeof profile.name === 'string' ? profile.name : `User ${userId}`
}

export function initialsOf (name: string): string {
  return name.split(/\s+/).filter(Boolean).slice(0, 2).map((word) => [...word][0]?.toUpperCase() ?? '').join('')
}

/** @returns the class of a user's colour, the same wherever they are shown */
export function faceOf (userId: UserId): string {
  const key = String(userId)
  const face = given.get(key) ?? given.size
  given.set(key, face)
  return `face-${face % faces}`
}

export function doingOf ({ isSpeaking, microphone }: Participant): string {
  if (microphone === 'none') return 'listening'
  if (microphone === 'muted') return 'muted'
  return isSpeaking ? 'speaking' : 'silent'
}

/** Sets an attribute or a text only where it is another one: what is read aloud must not be read again. */
export function label (element: HTMLElement, text: string, spoken = text): void {
  if (element.textContent !== text) element.textContent = text
  if (element.ariaLabel !== spoken) element.ariaLabel = spoken
}
