import type { RequestError } from '@flylive/audio-client'
import { strings } from '../strings.ts'
import { kept, keptInTab } from './storage.ts'

/** The user's profile, kept in the browser. */
export interface Identity {
  name: string
  colour: string
}

/** Avatar colours, in the order of strings.lobby.colours. White text is readable on each colour. */
export const colours = ['#4f46e5', '#0369a1', '#0f766e', '#15803d', '#a16207', '#c2410c', '#b91c1c', '#be185d'] as const

/** A token from the page's link or from the join form, for servers that do not allow guests. */
export interface Access {
  token: string | undefined
}

interface GuestSession extends Identity {
  token: string
}

/** Maximum length of a name, in UTF-16 code units; the server has the same limit. */
export const longestName = 40

/** @returns the name, truncated to the maximum length */
export function shortName (name: string): string {
  let short = ''
  // Truncate between code points.
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

/** @returns the server's base URL, which is the URL of the page's folder */
export function serverUrl (): string {
  return new URL('.', location.href).href
}

/** @returns whether this server issues guest tokens */
export async function signsGuestsIn (): Promise<boolean> {
  const response = await fetch('stage/session')
  const { guests } = await response.json() as { guests: boolean }
  return guests
}

/**
 * Returns the client's token callback. A guest keeps the same id in a tab, even after
 * a reload, and therefore keeps their room and seat.
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
    // The stored session is missing or is not valid JSON.
    return undefined
  }
}
