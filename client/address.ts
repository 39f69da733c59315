/**
 * Builds the address of a path on a server.
 *
 * @param base the server's base URL (http, https, ws or wss); in browsers, it may be relative to the page. The result
 *   contains the base URL's path (without a trailing `/ws`) and query
 * @param path absolute path on the server, such as `/ws`
 * @throws TypeError if the base URL is malformed or has a scheme other than http, https, ws and wss
 */
export function addressOf (base: string, path: string, scheme: 'http' | 'ws'): string {
  const { location } = globalThis as { location?: Location }
  const url = new URL(base, location?.href)
  const [known, secure = ''] = /^(?:http|ws)(s?):$/.exec(url.protocol) ?? []
  if (known === undefined) throw new TypeError(`The scheme ${url.protocol} is not http, https, ws or wss`)
  url.protocol = scheme + secure
  url.pathname = url.pathname.replace(/\/ws$|\/+$/, '') + path
  url.hash = ''
  return url.href
}
