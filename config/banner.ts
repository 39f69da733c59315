import type { Config } from './load.ts'

/**
 * The startup message for developers: the server's address, the generated
 * secrets and a valid token. Empty if no secret was generated. Configured
 * secrets are never shown.
 *
 * @param address where the server listens
 * @param token a token for testing, if the secret that signs it was generated
 */
export function banner ({ generated }: Pick<Config, 'generated'>, address: string, token: string | undefined): string {
  if (generated.size === 0) return ''
  const line = (title: string, value: string) => `  ${title.padEnd(26)}${value}`
  const secrets = [...generated].map(([name, value]) => line(`${name} (generated)`, value))
  return [
    '', `  FlyLive Audio Server   ${address}`, '',
    ...secrets, ...(token === undefined ? [] : [line('token for testing', token)]),
    '', '  Generated for this start only. Set them in .env to keep them.', '', ''
  ].join('\n')
}
