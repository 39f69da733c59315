import { createSigner } from 'fast-jwt'
import type { Config } from './load.ts'

/**
 * The startup message for developers: the server's address, the generated
 * secrets and a valid token. Empty if all secrets are configured; configured
 * secrets are never shown.
 *
 * @param address where the server listens
 */
export function banner (config: Config, address: string): string {
  if (config.madeUp.size === 0) return ''
  const lines = ['', `  FlyLive Audio Server   ${address}`, '']
  if (config.madeUp.has('JWT_SECRET')) {
    const token = createSigner({ key: config.JWT_SECRET, algorithm: 'HS256', expiresIn: '12h' })({ id: 1, name: 'Ada' })
    lines.push('  JWT_SECRET (generated)    ' + config.JWT_SECRET, '  token for testing         ' + token)
  }
  if (config.madeUp.has('ADMIN_API_KEY')) lines.push('  ADMIN_API_KEY (generated) ' + String(config.ADMIN_API_KEY[0]))
  return [...lines, '', '  Generated for this start only. Set them in .env to keep them.', '', ''].join('\n')
}
