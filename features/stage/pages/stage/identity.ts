import type { RequestError } from '@flylive/audio-client'
import { strings } from '../strings.ts'
import { kept, keptInTab } from './storage.ts'

/** Who somebody says they are; kept in the browser for the next time. */
export interface Identity {
  name: string
  colour: string
}

/** Colours of avatars, in the order of their names in strings.lobby.colours. White can be read on each. */
export const colours = ['#4f46e5', '#0369a1', '#0f766e', '#15803d', '#a16207', '#c2410c', '#b91c1c', '#be185d'] as const

/** A token from the link or the form, for a server that signs no guests in. */
export interface Access {
  token: string | undefined
}

interface GuestSession extends Identity {
  token: string
}

/** How long a name may be, in UTF-16 units, as the server counts. */
export const longestName = 40

/** @returns as much of a name as the server takes */
export function shortName (name: string): string {
  let short = ''
  // By characters: half of one is none.
  for (const character of name.trim()) if (short.length + character.length <= longestName) short += character; else break
  return short.trimEnd()
}

export function loadIdentity (): Identity {
  const colour = kept.get('colour')
  return {
    name: shortName(kept.get('name') ?? ''),
    colour: colours.find((one) => one === colour) ?? colours[Math.floor(Math.random() * colours.length)] as string
  }
}

export function saveIdentity ({ name, colour }: Identity): void {
  kept.set('name', name)
  kept.set('colour', colour)
}

/** @returns whether this server gives tokens to guests; where it does not, one must be brought along */
export async function signsGuestsIn (): Promise<boolean> {
  const response = await fetch('stage/session')
  const { guests } = await response.json() as { guests: boolean }
  return guests
}

/**
 * What the client asks for tokens. A guest stays the same one in a tab, also when
 * the page is loaded again: with the same name a seat and a room are still theirs.
 */
export function createTokenSource (identity: Identity, access: Access): (refusal?: RequestError) => Promise<string> {
  return async (refusal) => {
    if (access.token !== undefined) return access.token
    const known = readSession()
    if (known && !refusal && known.name === identity.name && known.colour === identity.colour) return known.token
    const response = await fetch('stage/session', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(identity)
    })
    if (!response.ok) throw new Error(`${strings.noSession}: ${response.status}`)
    const { token } = await response.json() as { token: string }
    keptInTab.set('session', JSON.stringify({ ...identity, token } satisfies GuestSession))
    return token
  }
}

function readSession (): GuestSession | undefined {
  try {
    return JSON.parse(keptInTab.get('session') ?? '') as GuestSession
  } catch {
    // There is none, or it is not ours.
    return undefined
  }
}
