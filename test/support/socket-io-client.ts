import { EventEmitter } from 'node:events'
import { io } from 'socket.io-client'
import type { Socket } from 'socket.io-client'
import type { WebSocket } from 'ws'
import { Refused } from './client.ts'
import type { ClientWire, ConnectOptions, Receive } from './client.ts'

export interface SocketIoOptions extends ConnectOptions {
  /** Default: only WebSockets, because that is fast. */
  transports?: ('polling' | 'websocket')[]
}

/** An ack of the server. */
export interface Ack {
  success: boolean
  data?: Record<string, unknown>
  error?: string
  code?: string
  details?: unknown
  [field: string]: unknown
}

/** The error data of a `connect_error`. */
interface ConnectError extends Error {
  data?: { code: string, message: string, details?: unknown }
  /** What the transport reports, if the server rejected the connection with an HTTP status. */
  description?: { message?: string } | number
}

/** The status with which the server rejects native clients. */
const statusOf: Readonly<Record<string, number>> = { UNAUTHORIZED: 401, ORIGIN_NOT_ALLOWED: 403, FEATURE_DISABLED: 409, TOO_MANY_CONNECTIONS: 429, INTERNAL: 500 }

/** Creates a Socket.IO client that does not reconnect. */
export function createSocketIo (url: string, { token, headers = {}, transports = ['websocket'] }: SocketIoOptions = {}): Socket {
  return io(url, {
    auth: token === undefined ? {} : { token },
    extraHeaders: headers,
    transports,
    reconnection: false,
    forceNew: true
  })
}

/**
 * Opens a Socket.IO client for a test client: its requests are emitted as events, and its acks and events are received in the form of the native
 * protocol.
 */
export function openSocketIo (url: string, options: ConnectOptions, receive: Receive): { wire: ClientWire, opened: Promise<void> } {
  const socket = createSocketIo(url, options)
  const ws = createWebSocketView(socket)
  socket.onAny((type: string, data: Record<string, unknown>) => receive({ type, data } as never))
  const opened = new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('connect_error', (error: ConnectError) => reject(refusedBy(error)))
  })
  opened.catch(() => socket.disconnect())
  return {
    opened,
    wire: {
      ws: ws as unknown as WebSocket,
      send (frame) {
        const { id, type, data } = (typeof frame === 'string' ? JSON.parse(frame) : frame) as { id?: number, type: string, data?: unknown }
        if (id === undefined) socket.emit(type, data)
        else socket.emit(type, data, (ack: Ack) => receive(toReply(id, type, ack) as never))
      }
    }
  }
}

function toReply (id: number, type: string, { success, error, code, details, ...rest }: Ack): object {
  if (!success) return { id, ok: false, error: { code, message: error, ...(details === undefined ? {} : { details }) } }
  return { id, ok: true, data: type === 'room:join' ? rest : rest.data }
}

/** Socket.IO clients receive the status of an HTTP response, but not its body. */
function refusedBy ({ data, description, message }: ConnectError): Error {
  if (data) return new Refused(statusOf[data.code] ?? 503, JSON.stringify({ error: data }), {})
  const status = typeof description === 'number' ? description : Number(/: (\d{3})$/.exec(description?.message ?? '')?.[1])
  return status > 0 ? new Refused(status, JSON.stringify({ error: { code: '', message } }), {}) : new Error(`not connected: ${message}`)
}

/**
 * The WebSocket of the client's transport, which exists only once the transport is open. Listeners of `close` may be added
 * before.
 */
function createWebSocketView (socket: Socket): EventEmitter {
  const early = new EventEmitter()
  let ws: WebSocket | undefined
  let gone = false
  socket.io.once('open', () => {
    ws = (socket.io.engine.transport as unknown as { ws: WebSocket }).ws
    ws.once('close', (code, reason) => early.emit('close', code, reason))
    ws.on('error', (error) => early.emit('error', error))
    if (gone) ws.terminate()
  })
  return new Proxy(early, {
    get (_, name) {
      if (name === 'terminate' && ws === undefined) {
        return () => {
          gone = true
          socket.disconnect()
        }
      }
      const from = ws !== undefined && !['once', 'on', 'emit'].includes(String(name)) ? ws : early
      const value: unknown = Reflect.get(from, name, from)
      return typeof value === 'function' ? value.bind(from) : value
    }
  })
}
