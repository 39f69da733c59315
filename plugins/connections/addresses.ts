import { BlockList, isIPv4, isIPv6 } from 'node:net'
import { LRUCache } from 'lru-cache'

/** Loopback, private and link-local addresses. Many users may share such an address, for example behind a proxy. */
const privateAddresses = new BlockList()
for (const [network, bits] of [['127.0.0.0', 8], ['10.0.0.0', 8], ['172.16.0.0', 12], ['192.168.0.0', 16], ['169.254.0.0', 16]] as const) {
  privateAddresses.addSubnet(network, bits, 'ipv4')
}
privateAddresses.addAddress('::1', 'ipv6')
privateAddresses.addSubnet('fc00::', 7, 'ipv6')
privateAddresses.addSubnet('fe80::', 10, 'ipv6')

// Results are cached, because `BlockList.check` is slow, and each connection needs several checks of the same address.
const checked = new LRUCache<string, boolean>({
  max: 10_000,
  memoMethod: (address) => (isIPv4(address) || isIPv6(address)) && privateAddresses.check(address, address.includes(':') ? 'ipv6' : 'ipv4')
})

/** @param address IPv4, IPv6, or IPv4-mapped IPv6 */
export const isPrivate = (address: string): boolean => checked.memo(address)

/**
 * Returns the key for counting connections from an address. All addresses of an IPv6 /64 network share a key, because a
 * provider usually assigns each customer at least one /64 network.
 *
 * @param address IPv4, IPv6, or IPv4-mapped IPv6
 */
export function addressKey (address: string): string {
  const [, mapped] = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address) ?? []
  if (mapped !== undefined) return mapped
  if (!isIPv6(address) || isPrivate(address)) return address
  // The URL parser returns the address in canonical form, in which "::" replaces groups of zeros.
  const [head = '', tail] = new URL(`http://[${address.split('%')[0]}]`).hostname.slice(1, -1).split('::')
  const [left, right] = [head, tail ?? ''].map((part) => part === '' ? [] : part.split(':')) as [string[], string[]]
  const groups = tail === undefined ? left : [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right]
  return `${groups.slice(0, 4).join(':')}::/64`
}
