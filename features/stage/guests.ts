import { randomUUID } from 'node:crypto'
import { createSigner } from 'fast-jwt'
import { z } from 'zod'

export const guestRequest = z.object({
  name: z.string().trim().min(1).max(40).describe('As others see it')
})

export const guestReply = z.object({
  token: z.string(),
  userId: z.string()
})

/** Long enough to try something, short enough not to lie around. */
const lifetime = '1h'

/**
 * @param secret with which the server verifies tokens
 * @returns makes a token for a user nobody has been before
 */
export function createGuestSigner (secret: string): (name: string) => z.output<typeof guestReply> {
  const sign = createSigner({ key: secret, algorithm: 'HS256', expiresIn: lifetime })
  return (name) => {
    const userId = `guest-${randomUUID()}`
    return { token: sign({ id: userId, name }), userId }
  }
}
