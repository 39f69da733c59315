import * as ws from 'ws'

// ws exports Sender, and its `frame` is what WebSocket#send itself uses; only
// the type package does not know it.
const { Sender } = ws as unknown as {
  Sender: { frame (data: Buffer, options: { fin: boolean, opcode: number, mask: boolean, rsv1: boolean, readOnly: boolean }): Buffer[] }
}

/**
 * Frames a text once, to be written to any number of sockets.
 *
 * @param text what the frame carries
 * @returns the whole unmasked WebSocket text frame
 */
export function textFrame (text: string): Buffer {
  return Buffer.concat(Sender.frame(Buffer.from(text), { fin: true, opcode: 1, mask: false, rsv1: false, readOnly: true }))
}
