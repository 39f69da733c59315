import { textFrame } from './frames.ts'

/**
 * How one kind of client writes messages: the native JSON protocol, Socket.IO,
 * push-to-talk. A connection has exactly one face.
 *
 * @typeParam F what the connection's transport writes
 */
export interface Face<F = unknown> {
  readonly name: string
  /** Encodes a server event. `text` is its native JSON text, which is serialised on first use. */
  event (event: { readonly type: string, readonly data: unknown, readonly text: string }): F
  /** Encodes the reply to a request; undefined where the protocol has no reply. */
  reply (id: string | number, outcome: { ok: true, data: unknown } | { ok: false, error: unknown }): F | undefined
}

/** The native protocol (protocol.md, section 2): JSON text frames. */
export const jsonFace: Face<Buffer> = {
  name: 'json',
  event: ({ text }) => textFrame(text),
  reply: (id, outcome) => textFrame(JSON.stringify({ id, ...outcome }))
}
