import type { Participant, Profile, UserId } from '@flylive/audio-client'
import { strings } from '../strings.ts'
import { colours } from './identity.ts'

/** What turns the order of the letters round, also of those that follow. */
const bidiControls = /[\u202a-\u202e\u2066-\u2069]/g
const rightToLeft = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/

/** @returns the name of somebody, as others see it; in a sentence it leaves the words around it where they are */
export function nameOf (profile: Profile | undefined): string {
  const name = profile?.name
  const plain = typeof name === 'string' ? name.replace(bidiControls, '') : ''
  if (plain.trim() === '') return strings.somebody
  return rightToLeft.test(plain) ? `\u2068${plain}\u2069` : plain
}

/** @returns the first letters of the first two words, for an avatar without a picture */
export function initialsOf (name: string): string {
  return name.replace(bidiControls, '').trim().split(/\s+/).slice(0, 2).map((word) => [...new Intl.Segmenter().segment(word)][0]?.segment ?? '').join('').toUpperCase()
}

/** @returns a picture that needs no other host; undefined where there is none */
export function pictureOf (profile: Profile | undefined): string | undefined {
  const avatar = profile?.avatar
  return typeof avatar === 'string' && avatar.startsWith('data:image/') ? avatar : undefined
}

/** @returns always the same colour for the same user */
export function colourOf (userId: UserId): string {
  let sum = 7
  for (const character of String(userId)) sum = (sum * 31 + (character.codePointAt(0) ?? 0)) % 9973
  return colours[sum % colours.length] as string
}

/** What somebody does, for all to see. */
export type Doing = 'speaking' | 'live' | 'muted' | 'listening'

export function doingOf ({ isSpeaking, microphone }: Participant): Doing {
  if (microphone === 'none') return 'listening'
  if (microphone === 'muted') return 'muted'
  return isSpeaking ? 'speaking' : 'live'
}
