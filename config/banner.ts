import type { Config } from './load.ts'

/**
 * The startup message for developers: the server's address and pages, the generated secrets and a valid token. Returns
 * an empty string if no secret was generated. Never contains configured secrets.
 *
 * @param address where the server listens
 * @param routes the routes of the running features, such as `GET /docs`
 * @param token a token for testing; set only if the secret that signs it was generated
 */
export function banner ({ generated }: Pick<Config, 'generated'>, address: string, routes: readonly string[], token: string | undefined): string {
  if (generated.size === 0) return ''
  const line = (title: string, value: string) => `  ${title.padEnd(26)}${value}`
  const secrets = [...generated].map(([name, value]) => line(`${name} (generated)`, value))
  const pages = Object.entries({ 'admin page': '/admin', 'HTTP reference': '/docs', 'message reference': '/docs/messages' })
    .filter(([, path]) => routes.includes(`GET ${path}`))
  return [
    '', `  FlyLive Audio Server   ${address}`, '',
    ...pages.map(([title, path]) => line(title, address + path)), ...(pages.length > 0 ? [''] : []),
    ...secrets, ...(token === undefined ? [] : [line('token for testing', token)]),
    '', '  Generated for this start only. To keep them, set them in .env.', '', ''
  ].join('\n')
}
