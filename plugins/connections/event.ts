import type { Face } from './face.ts'

/**
 * An outgoing event. It stays an object until it is written: its
 * text is serialised once, and it is framed once per face, on first use.
 */
export interface OutgoingEvent {
  readonly type: string
  readonly data: unknown
  /** The event in the native protocol, `{"type","data"}`; also the format between servers. */
  readonly text: string
  /** @returns the same frame for every session with that face; undefined if clients with that face do not receive the event */
  frame<F> (face: Face<F>): F | undefined
}

/**
 * @param type of the event
 * @param data its payload; it must not change afterwards
 */
export function createEvent (type: string, data: unknown): OutgoingEvent {
  let text: string | undefined
  return withFrames({
    type,
    data,
    get text () {
      text ??= JSON.stringify({ type, data })
      return text
    }
  })
}

/** @param text an event's native text, from another server or the log of a room */
export function eventFromText (text: string): OutgoingEvent {
  let parsed: { type: string, data: unknown } | undefined
  // The native face writes the text as it is, so it is parsed only for others.
  const parse = () => {
    parsed ??= JSON.parse(text) as { type: string, data: unknown }
    return parsed
  }
  return withFrames({
    text,
    get type () {
      return parse().type
    },
    get data () {
      return parse().data
    }
  })
}

function withFrames (event: Omit<OutgoingEvent, 'frame'>): OutgoingEvent {
  const frames = new Map<Face, unknown>()
  const frame = <F>(face: Face<F>): F | undefined => {
    if (!frames.has(face)) frames.set(face, face.event(event as OutgoingEvent))
    return frames.get(face) as F | undefined
  }
  return Object.defineProperty(event, 'frame', { value: frame }) as OutgoingEvent
}
