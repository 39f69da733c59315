import { isIP } from 'node:net'
import type { types } from 'mediasoup'

/** A local address to listen on, and the address that is announced to clients instead. */
type ListenSocket = Pick<types.TransportListenInfo, 'ip' | 'announcedAddress' | 'flags'>

/**
 * The address family, 4 or 6. The server does not resolve host names; it assumes that a host name has the family of the
 * listen address.
 */
const familyOf = (address: string, listenIp: string) => isIP(address) || isIP(listenIp)

/**
 * @param listenIp local address; 0.0.0.0 and :: stand for all local addresses of the announced address families
 * @param announced the addresses announced to clients; may be empty
 * @returns the sockets that a media worker opens, at most one per address family
 */
export function socketsFor (listenIp: string, announced: readonly string[]): ListenSocket[] {
  const isAny = listenIp === '0.0.0.0' || listenIp === '::'
  const families = isAny && announced.length > 0 ? [...new Set(announced.map((address) => familyOf(address, listenIp)))] : [isIP(listenIp)]
  return families.map((family) => {
    const announcedAddress = announced.find((address) => familyOf(address, listenIp) === family)
    return {
      ip: family === isIP(listenIp) ? listenIp : family === 6 ? '::' : '0.0.0.0',
      ...(announcedAddress === undefined ? {} : { announcedAddress }),
      ...(family === 6 && families.length > 1 ? { flags: { ipv6Only: true } } : {})
    }
  })
}

/**
 * Adds ICE candidates for the announced addresses that mediasoup leaves out, because a mediasoup socket announces only
 * one address. Clients may use any announced address, because the server identifies clients by their ICE credentials.
 *
 * @returns the candidates to send to the client, starting with mediasoup's own candidates
 */
export function candidatesFor (candidates: readonly types.IceCandidate[], listenIp: string, announced: readonly string[]): types.IceCandidate[] {
  const known = new Set(candidates.map(({ address }) => address))
  const added = announced.filter((address) => !known.has(address)).flatMap((address, index) => candidates
    .filter((candidate) => familyOf(candidate.address, listenIp) === familyOf(address, listenIp))
    .map((candidate) => ({
      ...candidate,
      address,
      ip: address,
      // Candidates with different addresses need different foundations (RFC 8445, section 5.1.1.3).
      foundation: `${candidate.foundation}${index + 1}`,
      // The local preference orders candidates of the same type (RFC 8445, section 5.1.2.1).
      priority: candidate.priority - (index + 1) * 256
    })))
  return [...candidates, ...added]
}
