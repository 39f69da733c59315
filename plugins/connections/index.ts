import type { IncomingMessage } from 'node:http'
import fp from 'fastify-plugin'
import websocket from '@fastify/websocket'
import type { WebSocket } from 'ws'
import { createEvent, eventFromText } from './event.ts'
import { Session } from './session.ts'
import type { Identity, SessionLimits } from './session.ts'
import { closeCodes } from './close-codes.ts'
import type { CloseReason } from './close-codes.ts'
import { userKeyOf } from './user.ts'
import type { UserId } from './user.ts'

export type Receiver = (session: Session, text: string) => void

/** All connections of this server. */
export interface Sockets {
  readonly size: number
  /** Takes over an upgraded socket. */
  accept (ws: WebSocket, request: IncomingMessage, identity: Identity): Session
  get (sessionId: string): Session | undefined
  all (): IterableIterator<Session>
  ofUser (userKey: string): Iterable<Session>
  /**
   * Sends one event to every socket of a user, on every server.
   *
   * @returns true when it went to all servers, false when only to this one
   */
  toUser (userId: UserId, type: string, data: object): Promise<boolean>
  /** Sends one event to every socket of this server. */
  broadcast (type: string, data: unknown): void
  /** Says who gets the text frames that arrive. */
  receive (receiver: Receiver): void
}

declare module 'fastify' {
  interface FastifyInstance {
    sockets: Sockets
  }
}

declare module '../hooks.ts' {
  interface KernelHooks {
    /** A connection is there; it has been sent nothing yet. */
    'session:open': (session: Session) => void
    /** What it returns is added to the greeting, session:ready. */
    'session:greet': (session: Session) => Record<string, unknown> | Promise<Record<string, unknown>>
    /** A connection is gone. It is still in its room when this is called. */
    'session:close': (session: Session) => void
  }
}

declare module '../cluster.ts' {
  interface ClusterMessages {
    /** End every connection of a user but one. */
    'user:replaced': { userKey: string, keep: string }
    /** An event for every connection of a user, as it goes over the wire. */
    'user:event': { userKey: string, text: string }
  }
}

/** The subprotocol of this contract; chosen when a client offers it. */
export const subprotocol = 'msab.v1'

/**
 * Connections: what they may send and how much may wait for them, pings, close
 * codes. It knows nothing of rooms and messages.
 */
export default fp(async function sockets (app) {
  const { config } = app
  const limits: SessionLimits = {
    maxQueueBytes: config.WS_MAX_QUEUE_BYTES,
    messagesPerSecond: config.WS_MESSAGES_PER_SECOND,
    messagesBurst: config.WS_MESSAGES_BURST,
    pingMs: config.WS_PING_SECONDS * 1000,
    pongTimeoutMs: config.WS_PONG_TIMEOUT_SECONDS * 1000
  }
  const sessions = new Map<string, Session>()
  const byUser = new Map<string, Set<Session>>()
  let receiver: Receiver = () => {}

  const open = app.metrics.gauge('flylive_socket_connections', 'WebSocket connections open now')
  const total = app.metrics.counter('flylive_socket_connections_total', 'WebSocket connections accepted')
  const closed = app.metrics.counter('flylive_socket_closed_total', 'WebSocket connections ended, by close code', ['code'])

  await app.register(websocket, {
    options: {
      maxPayload: config.WS_MAX_FRAME_BYTES,
      // Small JSON frames gain little from it, and it would frame per socket.
      perMessageDeflate: false,
      handleProtocols: (offered: Set<string>) => offered.has(subprotocol) ? subprotocol : false
    },
    // A frame that is none is a client's fault. ws has then begun to close the
    // connection itself, with the code that fits.
    errorHandler: (err, ws, request) => {
      if (ws.readyState !== ws.OPEN) return app.log.debug({ err, ip: request.ip }, 'socket error')
      app.log.error({ err }, 'a connection could not be taken over')
      ws.terminate()
    },
    // app.ts drains and closes sessions itself, with a code.
    preClose: (done) => {
      const { clients } = app.websocketServer
      for (const session of sessions.values()) session.close('SHUTTING_DOWN')
      app.websocketServer.close()
      const force = setTimeout(() => { for (const ws of clients) ws.terminate() }, 2000)
      const wait = () => {
        if (clients.size > 0) return setTimeout(wait, 10)
        clearTimeout(force)
        done()
      }
      wait()
    }
  })

  function accept (ws: WebSocket, request: IncomingMessage, identity: Identity): Session {
    const session = new Session(ws, request.socket, identity, limits, release)
    const expiry = closeWhenExpired(session)
    sessions.set(session.id, session)
    const mine = byUser.get(session.userKey)
    if (mine) mine.add(session)
    else byUser.set(session.userKey, new Set([session]))
    open.inc()
    total.inc()

    // ws closes what is too big by itself, with the code alone.
    const close = ws.close.bind(ws)
    const tooBig: CloseReason = 'MESSAGE_TOO_BIG'
    ws.close = (code, reason = code === closeCodes[tooBig] ? tooBig : undefined) => close(code, reason)

    ws.on('message', (data, isBinary) => {
      if (!session.open) return
      if (isBinary) return session.close('UNSUPPORTED_DATA')
      if (!session.admit()) return session.close('FLOODING')
      receiver(session, String(data))
    })
    ws.once('close', (code) => {
      clearTimeout(expiry)
      closed.inc({ code })
      app.log.debug({ sessionId: session.id, userId: session.user.id, code }, 'socket closed')
    })
    app.log.debug({ sessionId: session.id, userId: session.user.id }, 'socket open')
    if (config.SINGLE_SESSION) app.cluster.send('user:replaced', { userKey: session.userKey, keep: session.id })
    app.hooks.emit('session:open', session)
    return session
  }

  function release (session: Session): void {
    app.hooks.emit('session:close', session)
    sessions.delete(session.id)
    const rest = byUser.get(session.userKey)
    rest?.delete(session)
    if (rest?.size === 0) byUser.delete(session.userKey)
    open.dec()
  }

  // All servers hear of logins in one order. A session whose own login has not
  // been heard of yet is newer than the one that is being told of.
  const heardOf = new WeakSet<Session>()
  app.cluster.on('user:replaced', ({ userKey, keep }) => {
    for (const session of byUser.get(userKey) ?? []) {
      if (session.id === keep) heardOf.add(session)
      else if (heardOf.has(session)) session.close('REPLACED')
    }
  })

  app.cluster.on('user:event', ({ userKey, text }) => {
    const mine = byUser.get(userKey)
    if (!mine) return
    const event = eventFromText(text)
    for (const session of mine) session.write(event)
  })

  app.decorate('sockets', {
    get size () {
      return sessions.size
    },
    accept,
    get: (sessionId) => sessions.get(sessionId),
    all: () => sessions.values(),
    ofUser: (userKey) => byUser.get(userKey) ?? [],
    toUser: (userId, type, data) => app.cluster.send('user:event', { userKey: userKeyOf(userId), text: createEvent(type, data).text }),
    broadcast (type, data) {
      const event = createEvent(type, data)
      for (const session of sessions.values()) session.write(event)
    },
    receive (fn) {
      receiver = fn
    }
  } satisfies Sockets)
}, { name: 'sockets', dependencies: ['config', 'metrics', 'hooks', 'cluster'] })

/** The longest delay a timer takes, about 24 days; sessions do not last that long. */
const longestTimerMs = 2 ** 31 - 1

function closeWhenExpired (session: Session): NodeJS.Timeout | undefined {
  const { expiresAt } = session.identity
  if (expiresAt === undefined) return
  const end: CloseReason = 'UNAUTHORIZED'
  return setTimeout(() => session.close(end), Math.min(Math.max(expiresAt - Date.now(), 0), longestTimerMs)).unref()
}
