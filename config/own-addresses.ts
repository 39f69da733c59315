import { networkInterfaces } from 'node:os'

/**
 * Returns the addresses that browsers on this machine can use to reach the server. The loopback address alone is not
 * enough, because Firefox does not use it for WebRTC. Link-local IPv6 addresses are excluded, because they require a
 * zone id.
 *
 * @param interfaces default: this machine's network interfaces
 * @returns IP addresses, loopback first
 */
export function ownAddresses (interfaces = networkInterfaces()): string[] {
  const addresses = Object.values(interfaces)
    .flatMap((found = []) => found)
    .filter(({ address }) => !/^fe[89ab]/i.test(address))
    .sort((a, b) => Number(b.internal) - Number(a.internal))
    .map(({ address }) => address)
  return [...new Set(['127.0.0.1', ...addresses])]
}
