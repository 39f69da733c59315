import { Decoder, PacketType } from 'socket.io-parser'
import { packetType } from './packets.ts'

/**
 * The events that the decoder emits: `frame` for an event packet, `unsupported` for a packet of an unsupported type.
 */
export interface ClientEvents {
  frame (packet: string): void
  unsupported (packet: string | Buffer): void
}

/**
 * Emits packets as {@link ClientEvents}, without parsing them. `socketIoFace` parses the event packets, within the
 * limits of the native protocol. The library parses only packets that connect or disconnect a client.
 */
export class FrameDecoder extends Decoder {
  override add (packet: unknown): void {
    const type = typeof packet === 'string' ? packet.charAt(0) : ''
    if (type === packetType.connect || type === packetType.disconnect) return super.add(packet)
    const name: keyof ClientEvents = type === packetType.event ? 'frame' : 'unsupported'
    this.emitReserved('decoded', { type: PacketType.EVENT, nsp: '/', data: [name, packet] })
  }
}
