import { Decoder, PacketType } from 'socket.io-parser'
import { packetType } from './packets.ts'

/** What a connected client has sent: an event packet as text, or a packet that no request is made of. */
export interface ClientEvents {
  frame (packet: string): void
  unsupported (packet: string | Buffer): void
}

/**
 * Passes event packets on as text, as events with the names of {@link ClientEvents}. The session's face parses them, with the
 * limits of the native protocol. The library parses only the packets that connect and disconnect a client.
 */
export class FrameDecoder extends Decoder {
  override add (packet: unknown): void {
    const type = typeof packet === 'string' ? packet.charAt(0) : ''
    if (type === packetType.connect || type === packetType.disconnect) return super.add(packet)
    const name: keyof ClientEvents = type === packetType.event ? 'frame' : 'unsupported'
    this.emitReserved('decoded', { type: PacketType.EVENT, nsp: '/', data: [name, packet] })
  }
}
