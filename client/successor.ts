import { RequestError } from './errors.ts'

/** A socket to another server, opened before the current socket closes. */
export interface Successor {
  /** The current socket, which this socket replaces. */
  readonly from: WebSocket
  readonly ws: WebSocket
  /** The events that have arrived so far, in order, starting with the greeting. */
  readonly events: readonly { type?: string }[]
  /** Resolves when the greeting arrives. */
  readonly ready: Promise<void>
  /** Rejects if the socket is closed or the greeting does not arrive in time. */
  readonly lost: Promise<never>
  isReady (): boolean
  /**
   * Close code and reason of the current socket, if the current socket was closed before this socket could replace it.
   */
  firstLost?: { code: number, reason: string }
}

/**
 * Stores the events of a new socket until the caller replaces the event handlers of the socket.
 *
 * @param from the current socket
 * @param reply receives the replies
 * @param timeoutMs how long to wait for the greeting, in milliseconds
 */
export function openSuccessor (from: WebSocket, ws: WebSocket, reply: (frame: object) => void, timeoutMs: number): Successor {
  const events: { type?: string }[] = []
  const ready = Promise.withResolvers<void>()
  const lost = Promise.withResolvers<never>()
  lost.promise.catch(() => {})
  const fail = () => {
    clearTimeout(timer)
    lost.reject(new RequestError({ code: 'CONNECTION_LOST', message: 'The second connection was lost' }))
  }
  const timer = setTimeout(fail, timeoutMs)
  ws.onclose = fail
  ws.onmessage = ({ data }) => {
    const frame = JSON.parse(String(data)) as { type?: string }
    if (frame.type === undefined) return reply(frame)
    events.push(frame)
    clearTimeout(timer)
    ready.resolve()
  }
  return { from, ws, events, ready: Promise.race([ready.promise, lost.promise]), lost: lost.promise, isReady: () => events.length > 0 && ws.readyState === WebSocket.OPEN }
}
