import { randomUUID } from 'node:crypto'
import { z } from 'flylive-audio-server/feature'
import type { FeatureInstance } from 'flylive-audio-server/feature'

export const guestPolicy = z.object({ guests: z.boolean() })

export const guestRequest = z.object({
  name: z.string().trim().min(1).max(40).describe('The display name'),
  colour: z.string().regex(/^#[0-9a-f]{6}$/i, 'must be a colour like #5b6ee1').optional().describe('Colour of the avatar')
})

export const guestReply = z.object({
  token: z.string(),
  userId: z.string()
})

/** How long a guest's token is valid. The session closes when the token expires. */
const lifetime = '12h'

/** Signs a token for a new guest. */
export type GuestSigner = (guest: z.output<typeof guestRequest>) => z.output<typeof guestReply>

/**
 * @param features gives access to the `auth` feature, which signs the tokens. While `auth` is off, the server ignores
 *   tokens
 */
export function createGuestSigner (features: FeatureInstance['features']): GuestSigner {
  return ({ name, colour }) => {
    const userId = `guest-${randomUUID()}`
    const claims = { id: userId, name, ...(colour === undefined ? {} : { avatar: avatarOf(colour) }) }
    return { token: features.getFeature('auth')?.sign?.(claims, lifetime) ?? 'guest', userId }
  }
}

/** Returns the avatar as a data URL, so that clients do not load the avatar from another host. */
function avatarOf (colour: string): string {
  return `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><rect width="1" height="1" fill="${colour}"/></svg>`)}`
}
