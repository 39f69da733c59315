import type { Participant, Profile, UserId } from '@flylive/audio-client'
import { strings } from '../strings.ts'
import { colours } from './identity.ts'
import type { RoomView } from './room-view.ts'

/** Bidirectional control characters, which would change the direction of the text that follows a name. */
const bidiControls = /[\u202a-\u202e\u2066-\u2069]/g
const rightToLeft = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/

/**
 * @returns a user's display name, isolated so that the text direction of the name does not affect the surrounding text
 */
export function nameOf (profile: Profile | undefined): string {
  const name = profile?.name
  return typeof name === 'string' ? isolated(name) : strings.somebody
}

/** @returns a name as {@link nameOf} shows it */
export function isolated (name: string): string {
  const plain = name.replace(bidiControls, '')
  if (plain.trim() === '') return strings.somebody
  return rightToLeft.test(plain) ? `\u2068${plain}\u2069` : plain
}

/** @returns the initials of the first two words, for an avatar without a picture */
export function initialsOf (name: string): string {
  return name.replace(bidiControls, '').trim().split(/\s+/).slice(0, 2).map((word) => [...new Intl.Segmenter().segment(word)][0]?.segment ?? '').join('').toUpperCase()
}

/** @returns the user's picture as a data URL, so that no other host is contacted; undefined if there is none */
export function pictureOf (profile: Profile | undefined): string | undefined {
  const avatar = profile?.avatar
  return typeof avatar === 'string' && avatar.startsWith('data:image/') ? avatar : undefined
}

/** @returns a colour that depends only on the user's id */
export function colourOf (userId: UserId): string {
  let sum = 7
  for (const character of String(userId)) sum = (sum * 31 + (character.codePointAt(0) ?? 0)) % 9973
  return colours[sum % colours.length] as string
}

/**
 * A user's visible activity. `silent`: seated without a microphone. `connecting`: this page does not receive another
 * user's audio yet, or the server does not receive the current user's microphone yet.
 */
export type Doing = 'speaking' | 'live' | 'muted' | 'silent' | 'listening' | 'connecting'

/** @param view whether the page receives audio, and whether it should send this user's microphone */
export function doingOf ({ isSelf, isSpeaking, microphone, seat }: Participant, { audible, sending }: Pick<RoomView, 'audible' | 'sending'>): Doing {
  if (microphone === 'none') {
    if (isSelf && sending) return 'connecting'
    return seat === undefined ? 'listening' : 'silent'
  }
  if (microphone === 'muted') return 'muted'
  if (!audible) return 'connecting'
  return isSpeaking ? 'speaking' : 'live'
}
