import { once } from 'node:events'
import type { Test } from 'tap'
import { WebSocket } from 'ws'

/** The protocol of a test client: native or Socket.IO. */
export type ClientFace = 'native' | 'socket.io'

/** The default protocol of test clients. */
const defaultFace: ClientFace = process.env.TEST_FACE === 'socket.io' ? 'socket.io' : 'native'

/** Options that skip a test of the native protocol's frames or connections if the test clients use Socket.IO. */
export const nativeOnly = defaultFace === 'native' ? {} : { skip: 'about the native protocol' }

export interface ConnectOptions {
  /** Default: `native`, unless the environment variable TEST_FACE selects Socket.IO. */
  face?: ClientFace
  token?: string
  /** WebSocket subprotocols to offer. Default: `msab.v1`. */
  protocols?: string[]
  headers?: Record<string, string>
  /** Query string, appended to /ws. */
  query?: string
}

export interface Reply {
  id: string | number
  ok: boolean
  data: Record<string, never> & Record<string, unknown>
  error: { code: string, message: string, details?: unknown }
}

export interface Event {
  type: string
  data: Record<string, unknown>
}

/** A raw client: it sends frames, and records the frames that it receives. */
export interface TestClient {
  /** The client's WebSocket. For a Socket.IO client, the WebSocket of the client's transport. */
  readonly ws: WebSocket
  /** Received messages other than replies, in order. */
  readonly events: Event[]
  readonly greeting: Record<string, unknown>
  /** Sends a request and waits for its reply, successful or not. */
  request (type: string, data?: unknown): Promise<Reply>
  /**
   * Sends a request.
   *
   * @returns the reply's data
   * @throws if the request fails
   */
  ok (type: string, data?: unknown): Promise<Record<string, unknown>>
  /**
   * Sends a request that must fail.
   *
   * @returns the error code
   */
  fails (type: string, data?: unknown): Promise<string>
  send (frame: unknown): void
  /** Returns the next matching event, or waits for one. Each event is returned only once. */
  event (type: string, fits?: (data: Record<string, unknown>) => boolean): Promise<Record<string, unknown>>
  /** Close code and reason from the server. */
  readonly closed: Promise<{ code: number, reason: string }>
  /** Waits until the server has handled all frames sent so far: sends a request and waits for its reply. */
  flush (): Promise<void>
  close (): Promise<void>
}

// If a wait times out, the error message lists the frames received so far.
const timeoutMs = 15_000

/** The server responded to a connection attempt with an HTTP status. */
export class Refused extends Error {
  readonly status: number
  readonly body: { error: { code: string, message: string } }
  readonly headers: Record<string, string | string[] | undefined>

  constructor (status: number, body: string, headers: Refused['headers']) {
    super(`refused with ${status}: ${body}`)
    this.status = status
    this.body = JSON.parse(body) as Refused['body']
    this.headers = headers
  }
}

/** A test client's connection, over either protocol. */
export interface ClientWire {
  readonly ws: WebSocket
  /** Sends a request, or a raw frame of the native protocol. */
  send (frame: unknown): void
}

/** Receives each message from the server, converted to the native protocol. */
export type Receive = (message: Reply & Event) => void

/**
 * Opens a socket and waits for the greeting.
 *
 * @param url http://…
 * @throws {Refused} if the server rejects the connection
 */
export async function connect (t: Test, url: string, options: ConnectOptions = {}): Promise<TestClient> {
  const { face = defaultFace } = options
  let receive: Receive = () => {}
  const open = face === 'native' ? openNative : (await import('./socket-io-client.ts')).openSocketIo
  const { wire, opened } = open(url, options, (message) => receive(message))
  t.teardown(() => wire.ws.terminate())
  const client = createClient(wire, (fn) => { receive = fn })
  await opened
  Object.assign(client, { greeting: await client.event('session:ready') })
  return client
}

function openNative (url: string, { token, protocols = ['msab.v1'], headers = {}, query = '' }: ConnectOptions, receive: Receive): { wire: ClientWire, opened: Promise<void> } {
  const ws = new WebSocket(`${url.replace('http', 'ws')}/ws${query}`, protocols, {
    headers: { ...(token === undefined ? {} : { authorization: `Bearer ${token}` }), ...headers }
  })
  ws.on('message', (raw) => receive(JSON.parse(String(raw)) as Reply & Event))
  const opened = new Promise<void>((resolve, reject) => {
    ws.once('error', reject)
    ws.once('unexpected-response', (_request, response) => {
      let body = ''
      response.setEncoding('utf8').on('data', (chunk) => { body += chunk })
      response.once('end', () => reject(new Refused(response.statusCode ?? 0, body, response.headers)))
    })
    ws.once('open', resolve)
  })
  return {
    opened,
    wire: { ws, send: (frame) => ws.send(typeof frame === 'string' || Buffer.isBuffer(frame) ? frame : JSON.stringify(frame)) }
  }
}

function createClient (wire: ClientWire, receiveWith: (receive: Receive) => void): TestClient {
  const { ws } = wire
  const events: Event[] = []
  const taken = new Set<Event>()
  const waiting = new Map<string | number, (reply: Reply) => void>()
  const watchers = new Set<() => void>()
  let nextId = 0
  const closed = new Promise<{ code: number, reason: string }>((resolve) => {
    ws.once('close', (code, reason) => resolve({ code, reason: reason.toString() }))
  })
  ws.on('error', () => { /* `close` is emitted next. */ })
  receiveWith((message) => {
    if (message.id !== undefined && waiting.has(message.id)) {
      waiting.get(message.id)?.(message)
      waiting.delete(message.id)
      return
    }
    events.push(message)
    for (const watcher of watchers) watcher()
  })

  async function within<T> (promise: Promise<T>, what: string): Promise<T> {
    let timer: NodeJS.Timeout | undefined
    const timeout = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`Waited for ${what}; received: ${JSON.stringify(events.slice(-20))}`)), timeoutMs)
    })
    return await Promise.race([promise, timeout]).finally(() => clearTimeout(timer))
  }

  const client: TestClient = {
    ws,
    events,
    greeting: {},
    closed,
    send: (frame) => wire.send(frame),
    async request (type, data) {
      const id = ++nextId
      const reply = new Promise<Reply>((resolve) => waiting.set(id, resolve))
      client.send({ id, type, data })
      return await within(Promise.race([reply, closed.then(({ code, reason }): never => { throw new Error(`closed with ${code} ${reason} before the reply to ${type}`) })]), `the reply to ${type}`)
    },
    async ok (type, data) {
      const reply = await client.request(type, data)
      if (!reply.ok) throw new Error(`${type} failed: ${JSON.stringify(reply.error)}`)
      return reply.data
    },
    async fails (type, data) {
      const reply = await client.request(type, data)
      if (reply.ok) throw new Error(`${type} did not fail: ${JSON.stringify(reply.data)}`)
      return reply.error.code
    },
    event (type, fits = () => true) {
      const find = () => events.find((event) => event.type === type && !taken.has(event) && fits(event.data))
      return within(new Promise((resolve) => {
        const look = () => {
          const event = find()
          if (!event) return
          taken.add(event)
          watchers.delete(look)
          resolve(event.data)
        }
        watchers.add(look)
        look()
      }), `the event ${type}`)
    },
    async flush () {
      await client.request('user:getRoom', { userId: 'nobody' })
    },
    async close () {
      if (ws.readyState === WebSocket.CLOSED) return
      const gone = once(ws, 'close')
      ws.close()
      await gone
    }
  }
  return client
}
