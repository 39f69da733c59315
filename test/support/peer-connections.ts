import type { Test } from 'tap'
// Sets the WebRTC classes.
import './wrtc.ts'

/**
 * Lists the WebRTC connections that clients in this process create until the test ends.
 *
 * @param before called before a connection applies a remote description
 */
export function listConnections (t: Test, before: (connection: RTCPeerConnection, description: RTCSessionDescriptionInit) => Promise<void> = async () => {}): RTCPeerConnection[] {
  const { RTCPeerConnection } = globalThis
  t.teardown(() => { globalThis.RTCPeerConnection = RTCPeerConnection })
  const connections: RTCPeerConnection[] = []
  globalThis.RTCPeerConnection = class extends RTCPeerConnection {
    constructor (configuration?: RTCConfiguration) {
      super(configuration)
      connections.push(this)
    }

    override async setRemoteDescription (description: RTCSessionDescriptionInit) {
      await before(this, description)
      await super.setRemoteDescription(description)
    }
  }
  return connections
}
