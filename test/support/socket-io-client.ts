import { EventEmitter } from 'node:events'
import { io } from 'socket.io-client'
import type { ManagerOptions, Socket } from 'socket.io-client'
import type { WebSocket } from 'ws'
import { Refused } from './client.ts'
import type { ClientWire, ConnectOptions, Receive } from './client.ts'

export interface SocketIoOptions extends ConnectOptions {
  /** Default: only `websocket`, which connects faster than polling. */
  transports?: ('polling' | 'websocket')[]
  /** Other options of socket.io-client. */
  manager?: Partial<ManagerOptions>
}

/** An ack from the server. */
export interface Ack {
  success: boolean
  data?: Record<string, unknown>
  error?: string
  code?: string
  details?: unknown
  [field: string]: unknown
}

/** The error of a `connect_error` event. */
interface ConnectError extends Error {
  data?: { code: string, message: string, details?: unknown }
  /** The HTTP status of the rejection, as the transport reports it. */
  description?: { message?: string } | number
}

/** The HTTP status of a rejected native connection, by error code. */
const statusOf: Readonly<Record<string, number>> = { UNAUTHORIZED: 401, ORIGIN_NOT_ALLOWED: 403, FEATURE_DISABLED: 409, TOO_MANY_CONNECTIONS: 429, INTERNAL: 500 }

/** Creates a Socket.IO client that does not reconnect. */
export function createSocketIo (url: string, { token, headers = {}, transports = ['websocket'], manager = {} }: SocketIoOptions = {}): Socket {
  return io(url, {
    auth: token === undefined ? {} : { token },
    extraHeaders: headers,
    transports,
    reconnection: false,
    forceNew: true,
    ...manager
  })
}

/**
 * Opens a Socket.IO client for a test client. Emits the test client's requests as events, and converts acks and events
 * to the native protocol.
 */
export function openSocketIo (url: string, options: ConnectOptions, receive: Receive): { wire: ClientWire, opened: Promise<void> } {
  const socket = createSocketIo(url, options)
  const { ws, show } = createWebSocketView(socket)
  const received = (message: object) => {
    receive(message as never)
    show(message)
  }
  socket.onAny((type: string, data: Record<string, unknown>) => received({ type, data }))
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
        const { id, type, data } = (typeof frame === 'string' ? JSON.parse(frame) : frame) as { id?: unknown, type: string, data?: unknown }
        if (typeof id === 'number' || typeof id === 'string') socket.emit(type, data, (ack: Ack) => received(toReply(id, type, ack)))
        else socket.emit(type, data)
      }
    }
  }
}

function toReply (id: number | string, type: string, { success, error, code, details, ...rest }: Ack): object {
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
 * Returns a stand-in for the WebSocket of the client's transport. Tests can add listeners to the stand-in before the
 * transport creates the WebSocket.
 *
 * @returns the stand-in, and a function that emits a received message on the stand-in in the native protocol
 */
function createWebSocketView (socket: Socket): { ws: EventEmitter, show (message: object): void } {
  const emitter = new EventEmitter()
  const ownNames = new Set<string | symbol>(['on', 'once', 'off', 'emit'])
  let ws: WebSocket | undefined
  let isTerminated = false
  socket.io.once('open', () => {
    ws = (socket.io.engine.transport as unknown as { ws: WebSocket }).ws
    for (const name of ['close', 'ping']) ws.on(name, (...args: unknown[]) => emitter.emit(name, ...args))
    ws.on('error', (error) => emitter.emit('error', error))
    if (isTerminated) ws.terminate()
  })
  const early = {
    terminate () {
      isTerminated = true
      socket.disconnect()
    }
  }
  return {
    ws: new Proxy(emitter, {
      get (_, name) {
        const from = ownNames.has(name) || name.toString().startsWith('add') || name.toString().startsWith('remove') ? emitter : ws ?? early
        const value: unknown = Reflect.get(from, name, from)
        return typeof value === 'function' ? value.bind(from) : value
      }
    }),
    show (message) {
      if (emitter.listenerCount('message') > 0) emitter.emit('message', Buffer.from(JSON.stringify(message)))
    }
  }
}
