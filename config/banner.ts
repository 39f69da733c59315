import { createSigner } from 'fast-jwt'
import type { Config } from './load.ts'

/**
 * What a developer needs to try the server: where it is, and the secrets that
 * were made up for this start, with a token that fits. Empty where everything
 * was configured; configured secrets are never shown.
 *
 * @param address where the server listens
 */
export function banner (config: Config, address: string): string {
  if (config.madeUp.size === 0) return ''
  const lines = ['', `  FlyLive Audio Server   ${address}`, '']
  if (config.madeUp.has('JWT_SECRET')) {
    const token = createSigner({ key: config.JWT_SECRET, algorithm: 'HS256', expiresIn: '12h' })({ id: 1, name: 'Ada' })
    lines.push('  JWT_SECRET (made up)   ' + config.JWT_SECRET, '  a token to try         ' + token)
  }
  if (config.madeUp.has('ADMIN_API_KEY')) lines.push('  ADMIN_API_KEY (made up) ' + String(config.ADMIN_API_KEY[0]))
  return [...lines, '', '  Made up for this start only. Set them in .env to keep them.', '', ''].join('\n')
}
