import { BlockList, isIP, isIPv6 } from 'node:net'
import { z } from 'zod'

// Schemas for addresses in environment variables. Where possible, the error message suggests the value that the user
// probably meant.

/**
 * A host name (RFC 1123). The last label must not be a number, so that an incomplete IPv4 address does not count as a
 * host name.
 */
const hostName = /^(?!.{254})([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*(?!\d+$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i

/** @returns true if the text is a host name, or an IP address without brackets */
const isHost = (text: string) => isIP(text) !== 0 || hostName.test(text)

/** @returns the host in a text that may be a URL or contain a port; undefined if the text contains no host */
function hostIn (text: string): string | undefined {
  const url = URL.parse(/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`)
  const host = url?.hostname.replace(/^\[|\]$/g, '')
  // The URL parser turns 10.1 into 10.0.0.1, so do not suggest a host that is not in the input.
  return host !== undefined && isHost(host) && text.includes(host) ? host : undefined
}

const instead = (right: string | undefined, given: string) => right === undefined ? '' : `; use ${right} instead of ${given}`

/**
 * @returns the IP address in a text that may be a URL or contain a port; undefined if the text contains no IP address
 */
function ipIn (text: string): string | undefined {
  const host = hostIn(text)
  return host !== undefined && isIP(host) !== 0 ? host : undefined
}

/** An address to listen on: an IP address or a host name. */
export const listenHost = z.string().refine(isHost, { error: ({ input }) => `must be an IP address or a host name, without a port${instead(hostIn(String(input)), String(input))}` })

/** The host of a remote service, such as Redis. */
export const host = z.string().refine(isHost, { error: ({ input }) => `must be a host name or an IP address, without a scheme or a port${instead(hostIn(String(input)), String(input))}` })

/**
 * A host, optionally with a port.
 *
 * @param defaultPort the port to use if the text contains no port
 * @param example a host that error messages show as an example
 */
export const hostAndPort = (defaultPort: number, example: string) => z.string().transform((text, context) => {
  const [, inBrackets, name, port = String(defaultPort)] = /^(?:\[(.+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(text) ?? []
  const host = inBrackets ?? name ?? ''
  if (isHost(host) && Number(port) > 0 && Number(port) < 65_536) return { host, port: Number(port) }
  context.addIssue(`must be host names or IP addresses with ports, like ${example}:${defaultPort}`)
  return z.NEVER
})

/** The URL of a Redis server. The path must be a number, because the client would otherwise use database 0. */
export const redisUrl = z.url({ protocol: /^rediss?$/, error: 'must be like redis://[:password@]host:6379/3' })
  .refine((text) => /^\/?\d*$/.test(URL.parse(text)?.pathname ?? ''), 'must end with the number of a database, like redis://host:6379/3')
  .refine((text) => isEncoded(URL.parse(text)), 'must have a URL-encoded user name and password: write % as %25')

/** @returns true if the user name and the password of a URL can be decoded */
function isEncoded (url: URL | null): boolean {
  try {
    decodeURIComponent(`${url?.username}${url?.password}`)
    return true
  } catch {
    return false
  }
}

/** A local IP address to listen on. */
export const listenIp = z.string().refine((text) => isIP(text) !== 0, { error: ({ input }) => `must be an IP address like 0.0.0.0${instead(ipIn(String(input)), String(input))}` })

/** An address that clients use to reach this server. */
export const announcedAddress = z.string().refine(isHost, {
  error: ({ input }) => {
    const text = String(input)
    const parts = text.split(/\s+/)
    const right = parts.length > 1 && parts.every(isHost) ? parts.join(',') : hostIn(text.replace(/\s/g, ''))
    return `must be IP addresses or host names, separated by commas, without a scheme or a port${instead(right, text)}`
  }
})

/** An origin in the form that browsers send, or `*`. */
export const origin = z.string().refine((text) => text === '*' || originOf(text) === text, {
  error: ({ input }) => `must be * or origins like https://app.example.com${instead(originOf(String(input)), String(input))}`
})

/** @returns the origin that the user probably meant; undefined if the text suggests no origin */
function originOf (text: string): string | undefined {
  const url = URL.parse(/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `https://${text}`)
  return url !== null && /^https?:$/.test(url.protocol) && isHost(url.hostname.replace(/^\[|\]$/g, '')) ? url.origin : undefined
}

/** True if connections to this host do not leave this machine. */
export const isLoopback = (name: string): boolean => name === 'localhost' || name === '[::1]' || name === '::1' || /^127\./.test(name)

/** Names of network groups in Fastify's `trustProxy`. */
const networkNames = new Set(['loopback', 'linklocal', 'uniquelocal'])

/** @returns true if the text is an IP address, a network like 10.0.0.0/8, or the name of a network group */
function isNetwork (text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/')
  if (bits === undefined) return isIP(text) !== 0 || networkNames.has(text)
  if (rest.length > 0 || isIP(address) === 0 || !/^\d{1,3}$/.test(bits)) return false
  try {
    new BlockList().addSubnet(address, Number(bits), isIPv6(address) ? 'ipv6' : 'ipv4')
    // Reject a network with the prefix /0. Such a network contains every address, so every client could spoof its
    // address.
    return Number(bits) > 0
  } catch {
    return false
  }
}

/** Maximum number of proxies in a chain. */
const maxHops = 10

/**
 * The proxies whose X-Forwarded-For header the server trusts: no proxy (false), a number of chained proxies, or the
 * proxies in the listed networks. `true` means one proxy.
 */
export const trustedProxies = z.string().transform((text, context): false | number | readonly string[] => {
  if (/^\d+$/.test(text)) {
    const hops = Number(text)
    if (hops <= maxHops) return hops === 0 ? false : hops
  }
  const flag = z.stringbool().safeParse(text)
  if (flag.success) return flag.data ? 1 : false
  const networks = text.split(',').map((item) => item.trim()).filter(Boolean)
  if (networks.length > 0 && networks.every(isNetwork)) return networks
  context.addIssue(`must be true, false, the number of proxies (at most ${maxHops}), or addresses and networks of proxies like 10.0.0.0/8, separated by commas`)
  return z.NEVER
})

/** @returns the value of Fastify's `trustProxy` option */
export function trustProxyOption (trusted: false | number | readonly string[]): false | string[] | ((address: string, hop: number) => boolean) {
  // Pass a function instead of the number: Fastify trusts no proxy if it receives a number.
  if (typeof trusted === 'number') return (_address, hop) => hop < trusted
  return trusted && [...trusted]
}
