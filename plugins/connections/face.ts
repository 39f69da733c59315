/** A request as a client sent it, or the error where it cannot be read. */
export type ParsedMessage =
  { id?: string | number | undefined, type: string, data: Record<string, unknown>, error?: undefined } |
  { id?: string | number | undefined, type?: string | undefined, error: Error }

/** What a face encodes of an event. `text` is its native JSON text, which is serialised on first use. */
export interface FaceEvent {
  readonly type: string
  readonly data: unknown
  readonly text: string
}

/**
 * How one kind of client writes messages: the native JSON protocol, Socket.IO,
 * push-to-talk. A session has exactly one face.
 *
 * @typeParam F what the session's link writes
 */
export interface Face<F = unknown> {
  readonly name: string
  /** Whether it reads binary frames. Otherwise a binary frame closes the connection with UNSUPPORTED_DATA. */
  readonly binary?: boolean
  /**
   * Decodes a frame.
   *
   * @returns the request; its error, with the id where it can be read; undefined to ignore the frame
   * @throws like `error`, where neither id nor type can be read
   */
  parse (data: Buffer, isBinary: boolean): ParsedMessage | undefined
  /** Encodes a server event, once for all sessions with this face; undefined where clients do not get it. */
  event (event: FaceEvent): F | undefined
  /** Encodes the reply to a request; undefined where the protocol has no reply. */
  reply (id: string | number, outcome: { ok: true, data: unknown } | { ok: false, error: unknown }): F | undefined
}

/**
 * Adapts faces to a transport. A face gets one adapted face, so that an event
 * is encoded once for all its sessions.
 *
 * @param encode makes what the transport writes of what a face returns
 * @param failed called when a face throws while it encodes; the frame is dropped
 */
export function createFaceAdapter<A, F> (encode: (frame: A) => F, failed: (error: unknown, face: Face<A>) => void): (face: Face<A>) => Face<F> {
  const adapted = new WeakMap<Face<A>, Face<F>>()

  function adapt (face: Face<A>): Face<F> {
    const write = (make: () => A | undefined): F | undefined => {
      try {
        const frame = make()
        return frame === undefined ? undefined : encode(frame)
      } catch (error) {
        failed(error, face)
      }
    }
    return {
      name: face.name,
      binary: face.binary === true,
      parse: (data, isBinary) => face.parse(data, isBinary),
      event: (event) => write(() => face.event(event)),
      reply: (id, outcome) => write(() => face.reply(id, outcome))
    }
  }

  return (face) => {
    const known = adapted.get(face) ?? adapt(face)
    adapted.set(face, known)
    return known
  }
}
