// Sets the WebRTC globals.
import './wrtc.ts'

const { RTCPeerConnection } = globalThis

/** All connections of this process. */
const connections = new Set<RTCPeerConnection>()
globalThis.RTCPeerConnection = class extends RTCPeerConnection {
  constructor (configuration?: RTCConfiguration) {
    super(configuration)
    connections.add(this)
  }
}

/** Number of lost packets per connection and stream. Entries of ended streams are kept. */
const lost = new Map<RTCPeerConnection, Map<string, number>>()

/** @returns the number of packets that this process's receivers have lost; the number never decreases */
export async function lostPackets (): Promise<number> {
  for (const connection of connections) {
    if (connection.connectionState === 'closed') continue
    const streams = lost.get(connection) ?? new Map<string, number>()
    lost.set(connection, streams)
    for (const { type, id, packetsLost = 0 } of (await connection.getStats()).values() as Iterable<{ type: string, id: string, packetsLost?: number }>) {
      // A duplicate packet reduces packetsLost (RFC 3550, 6.4.1).
      if (type === 'inbound-rtp') streams.set(id, Math.max(packetsLost, streams.get(id) ?? 0))
    }
  }
  return lost.values().flatMap((streams) => streams.values()).reduce((sum, count) => sum + count, 0)
}
