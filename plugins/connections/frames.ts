import * as ws from 'ws'

// ws exports Sender, and WebSocket#send itself uses its `frame`; only the type
// package lacks it.
const { Sender } = ws as unknown as {
  Sender: { frame (data: Buffer, options: { fin: boolean, opcode: number, mask: boolean, rsv1: boolean, readOnly: boolean }): Buffer[] }
}

const textOpcode = 1
const binaryOpcode = 2

/**
 * Frames a message once, to be written to any number of sockets.
 *
 * @param message a string makes a text frame, bytes make a binary frame
 * @returns the whole unmasked WebSocket frame
 */
export function webSocketFrame (message: string | Uint8Array): Buffer {
  const opcode = typeof message === 'string' ? textOpcode : binaryOpcode
  return Buffer.concat(Sender.frame(Buffer.from(message as string), { fin: true, opcode, mask: false, rsv1: false, readOnly: true }))
}
