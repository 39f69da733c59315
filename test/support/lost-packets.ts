// Sets the WebRTC globals.
import './wrtc.ts'

const { RTCPeerConnection } = globalThis

/** All connections of this process, for their statistics. */
const connections = new Set<RTCPeerConnection>()
globalThis.RTCPeerConnection = class extends RTCPeerConnection {
  constructor (configuration?: RTCConfiguration) {
    super(configuration)
    connections.add(this)
  }
}

/** @returns the number of packets that all receivers in this process have lost */
export async function lostPackets (): Promise<number> {
  let lost = 0
  for (const connection of connections) {
    if (connection.connectionState === 'closed') continue
    for (const report of (await connection.getStats()).values() as Iterable<{ type: string, packetsLost?: number }>) if (report.type === 'inbound-rtp') lost += report.packetsLost ?? 0
  }
  return lost
}
