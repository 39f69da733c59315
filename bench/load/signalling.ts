import type { IncomingMessage } from 'node:http'
import { WebSocket } from 'ws'
import { addressOf } from '../../client/address.ts'
import type { EventType, ReplyData, RequestData, RequestType, WireError } from '../../client/protocol.ts'
import { errorIn } from '../../client/refusal.ts'
import { Failure } from './failure.ts'

/** Maximum time for a connection to open or a reply to arrive, in milliseconds. */
const timeoutMs = 10_000

export interface SignallingEvent {
  type: EventType
  data: Record<string, unknown>
}

/** The WebSocket connection of one simulated user. The connection is not restored if it is lost. */
export interface Signalling {
  /**
   * @returns the data of the reply
   * @throws Failure with the error code from the server, or with `TIMEOUT` or `DISCONNECTED`
   */
  request<T extends RequestType> (type: T, data: RequestData<T>): Promise<ReplyData<T>>
  /**
   * Number of request batches so far. A batch consists of requests that are sent without waiting for a reply in
   * between, so it takes one round trip.
   */
  readonly roundTrips: number
  /** Receives every event. */
  onEvent (listener: (event: SignallingEvent) => void): void
  /** Called if the connection ends before `close()` is called. */
  onLost (listener: (failure: Failure) => void): void
  /** Closes the connection. Idempotent. */
  close (): void
}

interface Frame {
  id?: number
  ok?: boolean
  data?: unknown
  error?: WireError
  type?: EventType
}

/**
 * Connects a user and waits until the connection is open.
 *
 * @param url base URL of the server; the scheme is http, https, ws or wss
 * @throws Failure with the error code from the server, or with `REFUSED` or `UNREACHABLE`
 */
export async function connect (url: string, token: string): Promise<Signalling> {
  const address = addressOf(url, '/ws', 'ws')
  const ws = new WebSocket(address, ['msab.v1'], { headers: { authorization: `Bearer ${token}` }, perMessageDeflate: false, handshakeTimeout: timeoutMs })
  const signalling = createSignalling(ws)
  await opened(ws, address)
  return signalling
}

async function opened (ws: WebSocket, address: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    ws.once('open', resolve)
    ws.once('error', (cause) => {
      const code = (cause as NodeJS.ErrnoException).code
      reject(new Failure('UNREACHABLE', `No server responds at ${address}: ${cause.message || code}`, { cause }))
    })
    ws.once('unexpected-response', (_request, response) => {
      explain(response).then(reject, reject)
    })
  })
}

/** @returns the reason why the server refused the WebSocket upgrade */
async function explain (response: IncomingMessage): Promise<Failure> {
  response.setEncoding('utf8')
  let body = ''
  for await (const chunk of response) if (body.length < 10_000) body += String(chunk)
  const { code, message } = errorIn(body) ?? { code: 'REFUSED', message: 'the response has no error code; is this the address of a FlyLive audio server?' }
  return new Failure(code, `The server rejected the connection with HTTP ${response.statusCode}: ${message}`)
}

function createSignalling (ws: WebSocket): Signalling {
  const waiting = new Map<number, PromiseWithResolvers<unknown> & { type: string, timer: NodeJS.Timeout }>()
  const eventListeners: ((event: SignallingEvent) => void)[] = []
  const lostListeners: ((failure: Failure) => void)[] = []
  let nextId = 0
  let roundTrips = 0
  let isAnswered = true
  let closing = false

  ws.on('error', () => { /* `close` is emitted next. */ })
  ws.on('message', (raw) => {
    const { id, ok, data, error, type } = JSON.parse(String(raw)) as Frame
    if (type !== undefined) {
      for (const listener of eventListeners) listener({ type, data: data as Record<string, unknown> })
      return
    }
    const request = waiting.get(id ?? 0)
    if (!request || id === undefined) return
    isAnswered = true
    waiting.delete(id)
    clearTimeout(request.timer)
    if (ok === true) request.resolve(data)
    else request.reject(new Failure(error?.code ?? 'INTERNAL', `${request.type} failed: ${error?.message ?? 'no reason'}`))
  })
  ws.on('close', (code, reason) => {
    const failure = new Failure('DISCONNECTED', `The server closed the connection with ${code} ${String(reason)}`.trim())
    for (const { reject, timer } of waiting.values()) {
      clearTimeout(timer)
      reject(failure)
    }
    waiting.clear()
    if (!closing) for (const listener of lostListeners) listener(failure)
  })

  return {
    get roundTrips () {
      return roundTrips
    },
    request<T extends RequestType> (type: T, data: RequestData<T>) {
      const id = ++nextId
      if (isAnswered) roundTrips++
      isAnswered = false
      const timer = setTimeout(() => {
        waiting.delete(id)
        reply.reject(new Failure('TIMEOUT', `No reply to ${type} within ${timeoutMs / 1000} s`))
      }, timeoutMs)
      const reply = { ...Promise.withResolvers<unknown>(), type, timer }
      if (ws.readyState === WebSocket.OPEN) {
        waiting.set(id, reply)
        ws.send(JSON.stringify({ id, type, data }))
      } else {
        clearTimeout(timer)
        reply.reject(new Failure('DISCONNECTED', 'The connection is closed'))
      }
      return reply.promise as Promise<ReplyData<T>>
    },
    onEvent: (listener) => { eventListeners.push(listener) },
    onLost: (listener) => { lostListeners.push(listener) },
    close () {
      closing = true
      ws.close()
      // Terminate the connection so that an unresponsive server cannot keep the process alive.
      setTimeout(() => ws.terminate(), 1000).unref()
    }
  }
}
