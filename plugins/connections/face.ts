import sjson from 'secure-json-parse'
import { z } from 'zod'
import { validationFailed } from '../errors/codes.ts'
import { checkShape } from '../schema/input.ts'
import { jsonLimitExceeded, topLevelScalars } from '../schema/json-limits.ts'

/** A request from a client, or the error if the request cannot be read. */
export type ParsedMessage =
  { id?: string | number | undefined, type: string, data: Record<string, unknown>, error?: undefined } |
  { id?: string | number | undefined, type?: string | undefined, error: Error }

/** An event that can be encoded in any message format. */
export interface FaceEvent {
  readonly type: string
  readonly data: unknown
  /**
   * The event as JSON, `{"type","data"}`: the format of the native protocol and of messages between servers. Serialised
   * once, on first use.
   */
  readonly text: string
}

/**
 * The message format of one kind of client, such as the native JSON protocol, Socket.IO or push-to-talk. Each session
 * uses exactly one message format.
 *
 * @typeParam F the type of the frames that the session's transport writes
 */
export interface Face<F = unknown> {
  readonly name: string
  /**
   * Whether the message format allows binary frames. If not, a binary frame closes the connection with
   * UNSUPPORTED_DATA.
   */
  readonly binary?: boolean
  /**
   * Decodes a frame.
   *
   * @returns the request, or an error if the frame is invalid; both contain the frame's id, if it has one. Undefined if
   *   the server must ignore the frame
   * @throws the error if the frame is invalid and neither its id nor its type can be read
   */
  parse (data: Buffer, isBinary: boolean): ParsedMessage | undefined
  /**
   * Encodes a server event, once for all sessions that use this message format. Returns undefined if their clients do
   * not receive the event.
   */
  event (event: FaceEvent): F | undefined
  /** Encodes the reply to a request. Returns undefined if the protocol has no replies. */
  reply (id: string | number, outcome: { ok: true, data: unknown } | { ok: false, error: unknown }): F | undefined
}

/**
 * An outgoing event. The event is serialised at most once, and converted to a frame at most once per message format.
 */
export interface OutgoingEvent extends FaceEvent {
  /**
   * @returns the frame for all sessions with this message format; undefined if their clients do not receive the event
   */
  frame<F> (face: Face<F>): F | undefined
}

/** An event that is serialised or parsed only when a message format needs the event's text or payload. */
class LazyEvent implements OutgoingEvent {
  #text: string | undefined
  #content: { type: string, data: unknown } | undefined
  readonly #frames = new Map<Face, unknown>()

  /** At least one of the parameters must be defined. */
  constructor (content: { type: string, data: unknown } | undefined, text?: string) {
    this.#content = content
    this.#text = text
  }

  get text (): string {
    this.#text ??= JSON.stringify(this.#content)
    return this.#text
  }

  get type (): string {
    return this.#parsed.type
  }

  get data (): unknown {
    return this.#parsed.data
  }

  // The native protocol sends the text unchanged, so the text is parsed only for other message formats.
  get #parsed (): { type: string, data: unknown } {
    this.#content ??= JSON.parse(this.text) as { type: string, data: unknown }
    return this.#content
  }

  frame<F> (face: Face<F>): F | undefined {
    if (!this.#frames.has(face)) this.#frames.set(face, face.event(this))
    return this.#frames.get(face) as F | undefined
  }
}

/**
 * @param type the event type
 * @param data the payload; do not modify it afterwards
 */
export const createEvent = (type: string, data: unknown): OutgoingEvent => new LazyEvent({ type, data })

/** @param text an event in the native protocol, from another server or from a room's log */
export const eventFromText = (text: string): OutgoingEvent => new LazyEvent(undefined, text)

/**
 * Adapts message formats to a transport. An adapted message format does not throw. Each message format is adapted only
 * once, so that an event is encoded only once for all sessions that use this message format.
 *
 * @param encode converts a frame of the message format to the frame that the transport writes
 * @param failed called when a message format throws while encoding a frame; the frame is dropped
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
      parse (data, isBinary) {
        try {
          return face.parse(data, isBinary)
        } catch (error) {
          return { error: error as Error }
        }
      },
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

/** The native protocol (docs/protocol.md, "Frames"): JSON in text frames. */
export const jsonFace: Face<string> = {
  name: 'json',
  parse: (data) => parseJson(String(data)),
  event: ({ text }) => text,
  reply: (id, outcome) => JSON.stringify({ id, ...outcome })
}

/**
 * Parses JSON from a client, for use in message formats. Drops keys such as `__proto__`.
 *
 * @throws VALIDATION_FAILED if the text is not JSON, has too many values, or nests too deeply
 */
export function parseClientJson (text: string): unknown {
  const problem = jsonLimitExceeded(text)
  if (problem !== undefined) throw validationFailed([{ path: [], message: `The frame ${problem}` }])
  try {
    return sjson.parse(text, { protoAction: 'remove', constructorAction: 'remove' })
  } catch {
    throw validationFailed([{ path: [], message: 'The frame is not JSON' }])
  }
}

const envelope = z.object({
  id: z.union([z.string(), z.number()], 'must be a string or a number').nullish(),
  type: z.string().min(1).max(128),
  data: z.record(z.string(), z.unknown()).nullish()
})

/**
 * Parses a text frame. If an invalid frame has an id, the result contains the id, so that the client receives the error
 * as the reply to its request.
 */
function parseJson (text: string): ParsedMessage {
  let value: unknown
  try {
    value = parseClientJson(text)
  } catch (error) {
    const head = jsonLimitExceeded(text) === undefined ? { id: undefined, type: undefined } : headOf(text)
    return { ...head, error: error as Error }
  }
  // The text of the id needs no further checks, because the server only sends the id back.
  const result = checkShape(envelope, value)
  if (result.success) {
    const { id, type, data } = result.data
    return { id: id ?? undefined, type, data: data ?? {} }
  }
  const raw = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>
  return {
    // JSON.parse turns 1e999 into Infinity, which JSON cannot represent.
    id: typeof raw.id === 'string' || Number.isFinite(raw.id) ? raw.id as string | number : undefined,
    type: typeof raw.type === 'string' ? raw.type.slice(0, 128) : undefined,
    error: validationFailed(result.issues)
  }
}

/** Reads the id and the type of a frame that exceeds the limits for parsing. */
function headOf (text: string): Pick<ParsedMessage, 'id' | 'type'> {
  const { id, type } = topLevelScalars(text, ['id', 'type'])
  return {
    id: typeof id === 'string' || Number.isFinite(id) ? id as string | number : undefined,
    type: typeof type === 'string' ? type.slice(0, 128) : undefined
  }
}

/** The message format of sessions without a connection. It does not serialise events. */
export const objectFace: Face<OutgoingEvent> = {
  name: 'object',
  parse: () => undefined,
  event: (event) => event as OutgoingEvent,
  reply: () => undefined
}
