import { addressOf } from './address.ts'
import { createBackoff } from './backoff.ts'
import type { Backoff, BackoffOptions } from './backoff.ts'
import { Emitter } from './emitter.ts'
import { RequestError, retryAfterOf } from './errors.ts'
import { featuresAfter } from './features.ts'
import { createHeartbeat } from './heartbeat.ts'
import type { Heartbeat } from './heartbeat.ts'
import { explainRefusal } from './refusal.ts'
import { openSuccessor } from './successor.ts'
import type { Successor } from './successor.ts'
import type { CloseCodes, EventData, EventType, Greeting, ReplyData, RequestData, RequestType, WireError } from './protocol.ts'

/**
 * - `idle`: `connect()` has not been called yet
 * - `connecting`: an attempt is in progress
 * - `open`: the connection is open, and the server's greeting has arrived
 * - `waiting`: an attempt failed or the connection was lost; the next attempt is scheduled
 * - `closed`: the connection is closed permanently; only another call to `connect()` reopens the connection
 */
export type ConnectionState = 'idle' | 'connecting' | 'open' | 'waiting' | 'closed'

export interface ConnectionOptions {
  /**
   * The server's base URL, for example https://voice.example.com, or https://example.com/voice with a path prefix. The
   * scheme may also be wss. The client also uses the path and the query of the URL.
   */
  url: string
  /**
   * Returns a token. The client calls this function for every connection attempt and one minute before an open
   * connection's token expires. If the function throws, takes longer than `connectTimeoutMs`, or returns text that
   * cannot be a token, such as an error page, the client calls the function again later.
   *
   * @param refusal the server's error if the server rejected the previous token. If the function returns the rejected
   *   token again, the client closes the connection permanently
   */
  token: (refusal?: RequestError) => string | Promise<string>
  /**
   * The delays between connection attempts. By default, the first delay is at most 0.5 s, and later delays are at most
   * 10 s.
   */
  backoff?: BackoffOptions
  /** Timeout of a request, in milliseconds. Default: 20,000. */
  timeoutMs?: number
  /** Timeout of a connection attempt and of a call to `token`, in milliseconds. Default: 9000. */
  connectTimeoutMs?: number
  /**
   * If no message arrives within this time, in milliseconds, the client sends a ping. If the server does not answer the
   * ping within 8 s, the client reconnects. Default: 24,000.
   */
  idleMs?: number
}

/** Events from the server and from the connection itself. */
export type ConnectionEvents = { [T in EventType]: [data: EventData<T>] } & {
  /** The state changed; `why` is the error if the connection was lost, rejected or closed. */
  state: [state: ConnectionState, why: RequestError | undefined]
  /** The set of enabled features changed. */
  features: [features: ReadonlySet<string>]
}

interface Pending {
  ws: WebSocket
  apply: (data: never) => void
  reject: (error: RequestError) => void
  timer: ReturnType<typeof setTimeout>
}

interface Frame {
  id?: number
  ok?: boolean
  error?: WireError
  type?: EventType
  data: never
}

/** A second connection, opened because the current server is shutting down. */
export interface Handover {
  /** Like `Connection.request`, but on the second connection. */
  request: Connection['request']
  /**
   * Makes the second connection the current connection. Call this function in the `apply` callback of a request, so
   * that the application receives all events of both connections. The previous connection is closed once its pending
   * requests are answered and `moved` settles.
   *
   * @param moved called if the move was not cancelled, before the second connection becomes the current connection.
   *   Returns a promise that settles when the application no longer needs the previous connection
   * @throws RequestError if the move was cancelled, for example because the second connection was lost
   */
  adopt: (moved?: () => Promise<void> | undefined) => void
}

/** Close codes after which the client does not reconnect. */
const finalCodes: { [Code in CloseCodes[keyof CloseCodes]]?: WireError } = {
  4401: { code: 'UNAUTHORIZED', message: 'The token was revoked' },
  4403: { code: 'KICKED', message: 'You were removed from the room' },
  4409: { code: 'REPLACED', message: 'You connected from another device' }
}

/** @returns the error with which the client stops; undefined if the client reconnects */
function finalErrorOf (code: number, reason: string): WireError | undefined {
  return reason === 'TOKEN_EXPIRED' ? undefined : finalCodes[code as keyof typeof finalCodes]
}

/**
 * After this many consecutive redirects from server to server, the client waits and then connects to the load balancer.
 */
const maxHops = 3

/**
 * When a server shuts down, each client opens its second connection after a random delay. The delay is at most this
 * long, in milliseconds, and at most half of the time until the server's deadline.
 */
const longestSpreadMs = 5000

/**
 * The default timeout of a request. The server's own timeout for its dependencies, such as Redis, is shorter (10 s).
 */
const defaultTimeoutMs = 20_000
/**
 * The default timeout of a connection attempt. `RoomClient.join()` waits half a second longer, so that it can throw the
 * error of the connection attempt.
 */
export const defaultConnectTimeoutMs = 9000
/**
 * Default of `idleMs`. With `defaultIdleMs` and `answerMs`, the client detects a lost connection within 35 s (README).
 */
const defaultIdleMs = 24_000
/** Maximum time for the answer to a ping, in milliseconds. */
const answerMs = 8000
/** Timeout of the request that asks the server why it rejected a connection, in milliseconds. */
const explainMs = 5000

/** The characters allowed in a subprotocol (RFC 6455, section 4.1). The client sends the token in a subprotocol. */
const tokenCharacters = /^[\w!#$%&'*+.^`|~-]+$/

/**
 * A connection to the server. A lost connection is restored with backoff, until `close()` is called or the server
 * rejects the client permanently. Works in browsers and in Node.
 */
export class Connection extends Emitter<ConnectionEvents> {
  readonly #options: ConnectionOptions
  readonly #backoff: Backoff
  readonly #pending = new Map<number, Pending>()
  #state: ConnectionState = 'idle'
  #greeting: Greeting | undefined
  #features: ReadonlySet<string> = new Set()
  #opening: PromiseWithResolvers<Greeting> | undefined
  #ws: WebSocket | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #token: string | undefined
  #refusal: RequestError | undefined
  #nextId = 0
  #clockOffsetMs = 0
  #successor: Successor | undefined
  /** Previous connections that are still open, because they are still needed or have pending requests. */
  readonly #previous = new Set<WebSocket>()
  /** Previous connections that are still needed. */
  readonly #kept = new Set<WebSocket>()
  #moveTimer: ReturnType<typeof setTimeout> | undefined
  /** The connection that the client is moving away from. */
  #movingFrom: WebSocket | undefined
  /**
   * URL of another server, received from a server that is full or shutting down. The client uses this URL until a
   * connection to it fails.
   */
  #named: string | undefined
  /** Number of consecutive redirects from server to server. */
  #hops = 0
  #renewTimer: ReturnType<typeof setTimeout> | undefined
  readonly #heartbeat: Heartbeat

  constructor (options: ConnectionOptions) {
    super()
    this.#options = options
    this.#backoff = createBackoff(options.backoff)
    this.#heartbeat = createHeartbeat({
      idleMs: options.idleMs ?? defaultIdleMs,
      answerMs: Math.min(answerMs, this.#timeoutMs),
      // The heartbeat counts any message as the answer, so an error reply is sufficient.
      ping: () => { this.request('session:ping', {}).catch(() => {}) },
      lost: () => { if (this.#ws) this.#ended(this.#ws, 1006, 'TIMEOUT') }
    })
  }

  /**
   * Called with a second connection when the server shuts down. The function must prepare the second connection, for
   * example by joining a room, and call `adopt`. If the function throws, the client opens a new second connection and
   * calls the function again. If `handover` is undefined, the client reconnects after the server closes the current
   * connection.
   */
  handover: ((handover: Handover) => Promise<void>) | undefined

  get state (): ConnectionState {
    return this.#state
  }

  /** The data of the last `session:ready` event. */
  get greeting (): Greeting | undefined {
    return this.#greeting
  }

  /** The features that are enabled on the server. While the client is disconnected, the set does not change. */
  get features (): ReadonlySet<string> {
    return this.#features
  }

  /**
   * Connects and stays connected. Idempotent.
   *
   * @returns the greeting from the first successful attempt; the `state` event reports failed attempts
   * @throws RequestError if the server rejects the client permanently, or if `close()` is called before the client is
   *   connected
   */
  connect (): Promise<Greeting> {
    if (this.#state === 'open' && this.#greeting) return Promise.resolve(this.#greeting)
    if (this.#opening) return this.#opening.promise
    const opening = Promise.withResolvers<Greeting>()
    // Callers are allowed to ignore the promise and use the `state` event, so prevent an unhandled rejection.
    opening.promise.catch(() => {})
    this.#opening = opening
    this.#refusal = undefined
    this.#watchPage(true)
    this.#attempt()
    return opening.promise
  }

  /**
   * Starts the next connection attempt immediately, for example because the user clicked a button. Has no effect unless
   * the state is `waiting`.
   */
  retry (): void {
    if (this.#state !== 'waiting') return
    this.#backoff.reset()
    this.#attempt()
  }

  /**
   * Closes the connection and connects to the server at `url`. A server that is full or shutting down sends the URL of
   * another server in its errors. If the server at `url` does not accept the client, the client connects to the URL in
   * its options again.
   *
   * @returns false if the connection is not open
   */
  goTo (url: string): boolean {
    const ws = this.#ws
    if (this.#state !== 'open' || !ws) return false
    this.#opening = Promise.withResolvers<Greeting>()
    this.#opening.promise.catch(() => {})
    this.#heartbeat.stop()
    clearTimeout(this.#renewTimer)
    this.#cancelMove()
    this.#drop(ws)
    this.#rejectAll({ code: 'CONNECTION_LOST', message: 'Connection lost' })
    this.#named = url
    this.#attempt()
    return true
  }

  /**
   * Sends a request. The client does not retry the request if it fails.
   *
   * @param apply called with the data of the reply, before the client emits any event that arrived after the reply
   * @throws RequestError with an error code from the server or a {@link ClientErrorCode}
   */
  request<T extends RequestType> (type: T, data: RequestData<T>, apply?: (reply: ReplyData<T>) => void): Promise<ReplyData<T>> {
    return this.#send(this.#state === 'open' ? this.#ws : undefined, type, data, apply)
  }

  #send<T extends RequestType> (ws: WebSocket | undefined, type: T, data: RequestData<T>, apply?: (reply: ReplyData<T>) => void): Promise<ReplyData<T>> {
    const { promise, resolve, reject } = Promise.withResolvers<ReplyData<T>>()
    if (ws?.readyState !== WebSocket.OPEN) {
      reject(new RequestError({ code: 'NOT_CONNECTED', message: 'Not connected to the server' }))
      return promise
    }
    const id = ++this.#nextId
    const timer = setTimeout(() => {
      this.#pending.delete(id)
      reject(new RequestError({ code: 'TIMEOUT', message: `The server did not reply to ${type}` }))
      this.#answered(ws)
      // Send a ping: if the server answers, only this request has failed; otherwise, the connection is lost.
      if (ws === this.#ws) this.#heartbeat.check()
    }, this.#timeoutMs)
    this.#pending.set(id, {
      ws,
      apply: (reply: ReplyData<T>) => {
        try {
          apply?.(reply)
          resolve(reply)
        } catch (error) {
          reject(error)
        }
      },
      reject,
      timer
    })
    ws.send(JSON.stringify({ id, type, data }))
    return promise
  }

  /** Closes the connection permanently. Pending requests are rejected with CLOSED. Idempotent. */
  close (): void {
    if (this.#state === 'idle' || this.#state === 'closed') return
    if (this.#ws) this.#drop(this.#ws)
    this.#finish(new RequestError({ code: 'CLOSED', message: 'The connection was closed' }))
  }

  #setState (state: ConnectionState, why?: RequestError): void {
    this.#state = state
    this.emit('state', state, why)
  }

  /** Makes one attempt to connect. If the attempt fails, calls #retry or #finish. */
  async #attempt (): Promise<void> {
    clearTimeout(this.#timer)
    this.#setState('connecting')
    const opening = this.#opening
    let token: string
    try {
      token = await this.#fetchToken(this.#refusal)
    } catch (error) {
      if (this.#opening === opening && this.#state === 'connecting') this.#retry(error as RequestError)
      return
    }
    // close() was called while the token was being fetched.
    if (this.#opening !== opening || this.#state !== 'connecting') return
    if (this.#refusal && token === this.#token) return this.#finish(this.#refusal)
    this.#refusal = undefined
    this.#token = token
    let ws: WebSocket
    try {
      ws = this.#socketFor(token)
    } catch (cause) {
      if (this.#named !== undefined) {
        this.#named = undefined
        return this.#retry(new RequestError({ code: 'UNREACHABLE', message: 'The client cannot connect to the URL that another server sent' }, { cause }))
      }
      // A retry would fail with the same error.
      return this.#finish(new RequestError({ code: 'CONNECTION_INVALID', message: `The address ${this.#options.url} is malformed, or the page is not allowed to connect to it` }, { cause }))
    }
    this.#listen(ws)
    this.#timer = setTimeout(() => {
      this.#drop(ws)
      this.#retry(new RequestError({ code: 'UNREACHABLE', message: 'The server does not respond', details: { url: addressOf(this.#url, '/ws', 'http') } }))
    }, this.#connectTimeoutMs)
  }

  /** @throws RequestError TOKEN_UNAVAILABLE */
  async #fetchToken (refusal?: RequestError): Promise<string> {
    const unavailable = (message: string, cause?: unknown) => new RequestError({ code: 'TOKEN_UNAVAILABLE', message }, { cause })
    const late = Promise.withResolvers<never>()
    const timer = setTimeout(() => late.reject(unavailable('The token function did not return in time')), this.#connectTimeoutMs)
    try {
      const token: unknown = await Promise.race([this.#options.token(refusal), late.promise])
      if (typeof token === 'string' && tokenCharacters.test(token)) return token
    } catch (cause) {
      throw cause instanceof RequestError && cause.code === 'TOKEN_UNAVAILABLE' ? cause : unavailable(`The token could not be fetched: ${cause instanceof Error ? cause.message : String(cause)}`, cause)
    } finally {
      clearTimeout(timer)
    }
    throw unavailable('The token endpoint did not return a token. Check its response, for example response.ok')
  }

  #socketFor (token: string, url = this.#url): WebSocket {
    return new WebSocket(addressOf(url, '/ws', 'ws'), ['msab.v1', `bearer.${token}`])
  }

  get #url (): string {
    return this.#named ?? this.#options.url
  }

  get #timeoutMs (): number {
    return this.#options.timeoutMs ?? defaultTimeoutMs
  }

  get #connectTimeoutMs (): number {
    return this.#options.connectTimeoutMs ?? defaultConnectTimeoutMs
  }

  #listen (ws: WebSocket): void {
    this.#ws = ws
    ws.onmessage = ({ data }) => {
      this.#heartbeat.received()
      const frame = JSON.parse(String(data)) as Frame
      if (frame.type === undefined) this.#settle(frame)
      else this.#receive(frame)
    }
    ws.onclose = ({ code, reason }) => this.#ended(ws, code, reason)
  }

  /** Called when the current socket is closed or lost. */
  #ended (ws: WebSocket, code: number, reason: string): void {
    const successor = this.#successor
    const final = finalErrorOf(code, reason)
    // The second connection is ready and will replace this connection, unless the second connection fails as well. If
    // the server closed this connection as replaced, the newer connection may be the client's own second connection.
    if (this.#state === 'open' && successor?.from === ws && successor.isReady() && (!final || final.code === 'REPLACED')) {
      successor.firstLost = { code, reason }
      return
    }
    this.#drop(ws)
    if (this.#state === 'open') this.#lost(code, reason)
    else this.#explain()
  }

  /** Closes a socket and removes its handlers. */
  #drop (ws: WebSocket): void {
    ws.onmessage = null
    ws.onclose = null
    ws.close()
    if (this.#ws === ws) this.#ws = undefined
  }

  /** Handles a reply. */
  #settle ({ id, ok, data, error }: Frame): void {
    const pending = this.#pending.get(id as number)
    if (!pending) return
    this.#pending.delete(id as number)
    clearTimeout(pending.timer)
    if (ok === true) pending.apply(data)
    else pending.reject(new RequestError(error as WireError))
    this.#answered(pending.ws)
  }

  /** Closes a previous connection if the connection has no pending requests. */
  #answered (ws: WebSocket): void {
    if (ws !== this.#ws && ws !== this.#successor?.ws) this.#retire(ws)
  }

  /** Handles an event. */
  #receive ({ type, data }: Frame): void {
    if (type === undefined) return
    const before = this.#features
    this.#features = featuresAfter(before, type, data)
    if (type === 'session:ready') this.#opened(data)
    if (type === 'session:expiring') this.#renewToken(data)
    if (type === 'server:draining') this.#moveSoon(data)
    if (this.#features !== before) this.emit('features', this.#features)
    this.emit(type, data)
  }

  #opened (greeting: Greeting): void {
    this.#greeting = greeting
    this.#clockOffsetMs = greeting.serverTime - Date.now()
    this.#backoff.reset()
    this.#hops = 0
    clearTimeout(this.#timer)
    this.#heartbeat.start()
    this.#opening?.resolve(greeting)
    if (this.#state !== 'open') this.#setState('open')
  }

  /** Opens a second connection, to another server, at a random time before the deadline. */
  #moveSoon ({ deadline, url }: EventData<'server:draining'>): void {
    const from = this.#ws
    // The server has announced the drain again. The client is already moving, and repeats a move that fails.
    if (from && from === this.#movingFrom) return
    clearTimeout(this.#moveTimer)
    const backoff = createBackoff(this.#options.backoff)
    let failures = 0
    const attempt = async () => {
      // The connection has been lost or closed.
      if (!from || from !== this.#ws) return
      // If the connection to the named server fails, let the load balancer choose a server.
      const to = failures++ === 0 && url !== undefined ? url : this.#options.url
      this.#movingFrom = from
      await this.#move(from, to).catch(() => { this.#moveTimer = setTimeout(attempt, backoff.next()) })
      if (this.#movingFrom === from) this.#movingFrom = undefined
    }
    const leftMs = deadline - Date.now() - this.#clockOffsetMs
    if (this.handover) this.#moveTimer = setTimeout(attempt, Math.random() * Math.min(Math.max(leftMs / 2, 0), longestSpreadMs))
  }

  /** @throws an error if the second connection or `handover` fails */
  async #move (from: WebSocket, url: string): Promise<void> {
    const token = await this.#fetchToken()
    // The connection was lost or closed while the token was being fetched.
    if (from !== this.#ws) return
    const successor = openSuccessor(from, this.#socketFor(token, url), (frame) => this.#settle(frame as Frame), this.#connectTimeoutMs)
    const { ws, events, ready, lost } = successor
    this.#successor = successor
    const checkMoving = () => {
      if (from !== this.#ws || this.#successor !== successor) throw new RequestError({ code: 'CONNECTION_LOST', message: 'Connection lost' })
    }
    const adopt = (moved?: () => Promise<void> | undefined) => {
      checkMoving()
      const until = moved?.()
      this.#token = token
      this.#named = url === this.#options.url ? undefined : url
      this.#listen(ws)
      if (until) this.#keep(from, until)
      this.#retire(from)
      for (const event of events) this.#receive(event as Frame)
    }
    try {
      await ready
      checkMoving()
      await Promise.race([this.handover?.({ adopt, request: (type, data, apply) => this.#send(ws, type, data, apply) }), lost])
    } finally {
      // The second server may be shutting down as well, so another move may already have begun.
      if (this.#successor === successor) this.#successor = undefined
      if (ws !== this.#ws) {
        this.#rejectAll({ code: 'CONNECTION_LOST', message: 'Connection lost' }, ws)
        this.#drop(ws)
        const { firstLost } = successor
        if (firstLost && from === this.#ws) {
          this.#drop(from)
          this.#lost(firstLost.code, firstLost.reason)
        }
      }
    }
  }

  /** Cancels the move to another server, if there is one, and closes the second connection. */
  #cancelMove (): void {
    clearTimeout(this.#moveTimer)
    this.#successor?.ws.close()
    this.#successor = undefined
  }

  /** Leaves the room on each previous connection that is still open, then closes that connection. */
  leavePrevious (): void {
    for (const ws of this.#previous) {
      if (ws.readyState === WebSocket.OPEN) ws.send(JSON.stringify({ type: 'room:leave', data: {} }))
      this.#kept.delete(ws)
      this.#retire(ws)
    }
  }

  /** Keeps a previous connection open until the promise settles. */
  #keep (ws: WebSocket, until: Promise<void>): void {
    this.#kept.add(ws)
    const release = () => { if (this.#kept.delete(ws)) this.#retire(ws) }
    until.then(release, release)
  }

  /**
   * Ignores all further events of a previous connection. Closes the connection once it is no longer needed and its
   * pending requests are answered.
   */
  #retire (ws: WebSocket): void {
    const close = () => {
      this.#kept.delete(ws)
      this.#previous.delete(ws)
      this.#rejectAll({ code: 'CONNECTION_LOST', message: 'Connection lost' }, ws)
      this.#drop(ws)
    }
    if (!this.#kept.has(ws) && ![...this.#pending.values()].some((pending) => pending.ws === ws)) return close()
    this.#previous.add(ws)
    ws.onmessage = ({ data }) => {
      const frame = JSON.parse(String(data)) as Frame
      if (frame.type === undefined) this.#settle(frame)
    }
    ws.onclose = close
  }

  /**
   * Renews the session's token, with retries until the token expires. If all attempts fail, the server closes the
   * connection when the token expires, and the client reconnects.
   */
  #renewToken ({ expiresAt }: EventData<'session:expiring'>): void {
    const ws = this.#ws
    const backoff = createBackoff(this.#options.backoff)
    const attempt = async () => {
      try {
        const token = await this.#fetchToken()
        if (ws !== this.#ws) return
        if (token !== this.#token) {
          await this.request('session:refresh', { token })
          if (ws === this.#ws) this.#token = token
          return
        }
      } catch { /* Retried below. */ }
      if (ws === this.#ws && Date.now() + this.#clockOffsetMs < expiresAt) this.#renewTimer = setTimeout(attempt, backoff.next())
    }
    clearTimeout(this.#renewTimer)
    attempt()
  }

  /** Handles the loss of an open connection. */
  #lost (code: number, reason: string): void {
    const final = finalErrorOf(code, reason)
    // The next connection attempt needs a different token.
    if (reason === 'TOKEN_EXPIRED') this.#refusal = new RequestError({ code: 'UNAUTHORIZED', message: 'The token has expired' })
    if (final) return this.#finish(new RequestError({ ...final, details: { closeCode: code, reason } }))
    this.#rejectAll({ code: 'CONNECTION_LOST', message: 'Connection lost' })
    this.#retry(new RequestError({ code: 'CONNECTION_LOST', message: 'Connection lost', details: { closeCode: code, reason } }))
  }

  /** Asks the server why it rejected the connection, and then retries or stops. */
  async #explain (): Promise<void> {
    clearTimeout(this.#timer)
    const opening = this.#opening
    const why = await explainRefusal(addressOf(this.#url, '/ws', 'http'), this.#token ?? '', Math.min(explainMs, this.#connectTimeoutMs))
    if (this.#opening !== opening || this.#state !== 'connecting') return
    const { reason, url } = { ...why.details as object } as { reason?: string, url?: string }
    if ((why.code === 'OVERLOADED' || why.code === 'DRAINING') && url !== undefined && this.#hops < maxHops) {
      this.#hops++
      this.#named = url
      this.#attempt()
      return
    }
    if (why.code === 'UNAUTHORIZED' && reason === 'malformed') {
      return this.#retry(new RequestError({ code: 'TOKEN_UNAVAILABLE', message: 'The token endpoint did not return a token' }, { cause: why }))
    }
    if (why.code === 'UNAUTHORIZED') this.#refusal = why
    this.#retry(why)
  }

  #retry (why: RequestError): void {
    // Use the load balancer's address again for the next attempt.
    this.#named = undefined
    this.#hops = 0
    // A later call to connect() waits for the next greeting.
    if (this.#state === 'open') {
      this.#opening = Promise.withResolvers<Greeting>()
      this.#opening.promise.catch(() => {})
    }
    clearTimeout(this.#timer)
    this.#heartbeat.stop()
    clearTimeout(this.#renewTimer)
    this.#cancelMove()
    this.#timer = setTimeout(() => { this.#attempt() }, Math.max(retryAfterOf(why), this.#backoff.next()))
    this.#setState('waiting', why)
  }

  /** Adds or removes listeners for the page events that trigger a retry or a connection check. */
  #watchPage (isWatched: boolean): void {
    const { document } = globalThis as { document?: Document }
    const method = isWatched ? 'addEventListener' : 'removeEventListener'
    for (const event of ['online', 'pageshow']) globalThis[method]?.(event, this.#resume)
    document?.[method]('visibilitychange', this.#resume)
  }

  /**
   * Called when the page becomes visible or the network returns. If the client is waiting for the next attempt, starts
   * the attempt. If the client is connected, checks the connection.
   */
  readonly #resume = ({ type }: Event) => {
    if (type === 'visibilitychange' && document.hidden) return
    if (this.#state === 'open') this.#heartbeat.check()
    this.retry()
  }

  #finish (why: RequestError): void {
    clearTimeout(this.#timer)
    clearTimeout(this.#renewTimer)
    this.#heartbeat.stop()
    this.#cancelMove()
    this.#kept.clear()
    this.#watchPage(false)
    const opening = this.#opening
    this.#opening = undefined
    this.#rejectAll(why)
    this.#setState('closed', why)
    opening?.reject(why)
  }

  /** @param ws if given, only the pending requests of this socket are rejected */
  #rejectAll (error: WireError, ws?: WebSocket): void {
    for (const [id, pending] of [...this.#pending]) {
      if (ws && pending.ws !== ws) continue
      this.#pending.delete(id)
      clearTimeout(pending.timer)
      pending.reject(new RequestError(error))
    }
    // The previous connections no longer have pending requests.
    if (!ws) for (const previous of this.#previous) this.#retire(previous)
  }
}
