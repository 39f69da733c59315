// Sets the WebRTC classes.
import './wrtc.ts'

const { RTCPeerConnection } = globalThis

/** All connections of this process, to read their statistics. */
const connections = new Set<RTCPeerConnection>()
globalThis.RTCPeerConnection = class extends RTCPeerConnection {
  constructor (configuration?: RTCConfiguration) {
    super(configuration)
    connections.add(this)
  }
}

/** @returns the packets that all receivers of this process have lost */
export async function lostPackets (): Promise<number> {
  let lost = 0
  for (const connection of connections) {
    if (connection.connectionState === 'closed') continue
    for (const report of (await connection.getStats()).values() as Iterable<{ type: string, packetsLost?: number }>) if (report.type === 'inbound-rtp') lost += report.packetsLost ?? 0
  }
  return lost
}
