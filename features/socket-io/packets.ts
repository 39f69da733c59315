import { webSocketFrame } from 'flylive-audio-server/feature'

/** The packet types of Socket.IO protocol 5 that this feature uses. */
export const packetType = { connect: '0', disconnect: '1', event: '2', ack: '3' } as const

/** The first character of an Engine.IO packet of the type `message`. */
const engineMessage = '4'

/** A packet that is encoded once and written to any number of sockets. */
export interface Packet {
  readonly text: string
  readonly bytes: number
  /** Options for the engine, shared by all sockets. */
  readonly options: EngineWriteOptions
}

/** The engine writes `wsPreEncodedFrame` to WebSockets instead of framing the text for each WebSocket. */
export interface EngineWriteOptions {
  compress: false
  readonly wsPreEncodedFrame: readonly Buffer[]
}

/** @param text a packet of the Socket.IO protocol */
export function createPacket (text: string): Packet {
  let frame: readonly Buffer[] | undefined
  return {
    text,
    bytes: Buffer.byteLength(text),
    options: {
      compress: false,
      // Computed on first use, because sockets that use polling do not need the frame.
      get wsPreEncodedFrame () {
        frame ??= [webSocketFrame(engineMessage + text)]
        return frame
      }
    }
  }
}
