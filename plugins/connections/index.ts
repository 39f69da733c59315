import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Drain } from '../drain.ts'
import { createAdmission } from './admission.ts'
import { closeCodes } from './close-codes.ts'
import { FeatureDisabled, Forbidden } from '../errors/codes.ts'
import { watchExpiry } from './expiry.ts'
import type { Expiry } from './expiry.ts'
import { createEvent, createFaceAdapter, eventFromText, jsonFace, objectFace } from './face.ts'
import type { Face } from './face.ts'
import { createCallbackLink } from './link.ts'
import type { Link } from './link.ts'
import { createSessionRegistry } from './registry.ts'
import type { SessionRegistry } from './registry.ts'
import { Session, userKeyOf } from './session.ts'
import type { FrameReader, SessionOptions } from './session.ts'
import type { EventCheck, FeatureSockets, OpenOptions, Sockets } from './sockets.ts'
import { webSocketFrame, WebSocketLink } from './web-socket-link.ts'
import { registerWebSocketServer } from './web-socket-server.ts'

declare module 'fastify' {
  interface FastifyInstance {
    sockets: Sockets
  }
}

declare module '../hooks.ts' {
  interface KernelHooks {
    /** A session was opened. Called before anything is sent to the session. */
    'session:open': (session: Session) => void
    /** Returns fields to add to the greeting (session:ready). */
    'session:greet': (session: Session) => Record<string, unknown> | Promise<Record<string, unknown>>
    /** A session has ended. Called before the session leaves its room. */
    'session:close': (session: Session) => void
    /**
     * The user of a session has joined a room through another server. Returns whether the session has audio. A session
     * with audio stays open for a few more seconds.
     */
    'session:moved': (session: Session) => boolean
  }
}

declare module '../cluster/messages.ts' {
  interface ClusterMessages {
    /** An event for all of a user's sessions, in the native protocol's JSON. */
    'user:event': { userKey: string, text: string }
    /** Closes a user's connections that are older than the session `keep`. */
    'user:replaced': { userKey: string, keep: string }
    /** The session `keep` has joined a room, so servers that are draining close the user's older connections. */
    'user:moved': { userKey: string, keep: string }
  }
}

/**
 * How long a session with audio stays open after its user joins a room through another server, in milliseconds. The
 * client closes the session earlier, once audio from the other server starts.
 */
const handOverMs = 5000

/**
 * Close codes that the metric counts separately: the server's codes and common RFC 6455 codes. The metric counts all
 * other codes as `other`.
 */
const countedCodes: ReadonlySet<number> = new Set([...Object.values(closeCodes), 1000, 1001, 1002, 1003, 1005, 1006, 1007, 1009, 1011])

/** A period of service of a feature. Reloads of the feature do not end the period. */
interface Service {
  /** Whether the feature has been disabled. A request of the feature may still be running. */
  isOver: boolean
}

/**
 * Manages sessions and their connections: limits on incoming messages and outgoing queues, pings, close codes. This
 * plugin depends neither on rooms nor on message types.
 */
export default fp(async function sockets (app) {
  const { config } = app
  const webSocketLimits = {
    maxQueueBytes: config.WS_MAX_QUEUE_BYTES,
    pingMs: config.WS_PING_SECONDS * 1000,
    pongTimeoutMs: config.WS_PONG_TIMEOUT_SECONDS * 1000
  }
  const limits = {
    messagesPerSecond: config.WS_MESSAGES_PER_SECOND,
    messagesBurst: config.WS_MESSAGES_BURST,
    bytesPerSecond: config.WS_BYTES_PER_SECOND,
    bytesBurst: config.WS_BYTES_BURST
  }
  const sessions = createSessionRegistry()
  const admission = createAdmission(app, () => sessions.size)
  const owners = new WeakMap<Session, string>()
  const expiries = new WeakMap<Session, Expiry>()
  /** Each feature's period of service, which begins when the feature starts and lasts until the feature is disabled. */
  const services = new Map<string, Service>()
  let reader: FrameReader = () => {}
  let check: EventCheck = () => {}

  const open = app.metrics.gauge('flylive_socket_connections', 'Open connections: WebSockets, and connections over transports that features add')
  const total = app.metrics.counter('flylive_socket_connections_total', 'Connections accepted')
  const closed = app.metrics.counter('flylive_socket_closed_total', 'Connections closed, by close code', ['code'])

  const faceFailed = (err: unknown, { name }: Face) => app.log.error({ err, face: name }, 'failed to encode a message for a client')
  const overWebSocket = createFaceAdapter(webSocketFrame, faceFailed)
  const overLink = createFaceAdapter((frame: unknown) => frame, faceFailed)
  const replaceOlder = config.SINGLE_SESSION ? replaceOlderSessions(app, sessions) : () => {}

  function start<F> (options: Omit<SessionOptions<F>, 'connectedAt' | 'limits' | 'reader' | 'check' | 'onLinkError'> & { reader?: FrameReader | undefined }, owner?: string): Session {
    const session = new Session({
      ...options,
      connectedAt: app.clock.now(),
      limits,
      reader: options.reader ?? reader,
      check: (type, data) => check(type, data),
      onEnd: (session) => {
        expiry.stop()
        app.hooks.emit('session:close', session)
        sessions.remove(session)
        options.onEnd?.(session)
      },
      onLinkError: (err, { id: sessionId }) => app.log.error({ err, feature: owner, sessionId }, "a session's link failed")
    })
    const expiry = watchExpiry(session)
    expiries.set(session, expiry)
    if (owner !== undefined) owners.set(session, owner)
    sessions.add(session)
    if (session.connected) replaceOlder(session)
    app.hooks.emit('session:open', session)
    return session
  }

  const accept: Sockets['accept'] = (ws, request, identity, { face = jsonFace, owner, reader, opened } = {}) => {
    const link = new WebSocketLink(ws, request.socket, webSocketLimits)
    const session = start({ identity, face: overWebSocket(face), link, reader, connected: true, onEnd: () => open.dec() }, owner)
    open.inc()
    total.inc()
    // Attach the session first: if `opened` throws, the server closes the connection, and the session must then end.
    link.attach(session)
    ws.once('close', (code) => countClose(session, code))
    opened?.(session)
    app.log.debug({ sessionId: session.id, userId: session.user.id }, 'socket open')
    return session
  }

  function countClose (session: Session, code: number | undefined): void {
    closed.inc({ code: code !== undefined && countedCodes.has(code) ? code : 'other' })
    app.log.debug({ sessionId: session.id, userId: session.user.id, code }, 'socket closed')
  }

  /** Opens a session over a feature's own transport. */
  function openLinked<F> ({ identity, face, link }: Extract<OpenOptions<F>, { link: Link<F> }>, onEnd: (session: Session) => void, owner: string | undefined): Session {
    const session = start({
      identity,
      face: overLink(face) as Face<F>,
      link,
      connected: true,
      onEnd (session) {
        open.dec()
        countClose(session, session.endedFor && closeCodes[session.endedFor])
        onEnd(session)
      }
    }, owner)
    open.inc()
    total.inc()
    return session
  }

  function openSession<F> (options: OpenOptions<F>, owner?: string): Session {
    if (app.drain.draining) throw app.nodes.refusal('DRAINING')
    if (sessions.size >= config.MAX_CONNECTIONS) throw app.nodes.refusal('OVERLOADED')
    const { identity, onClose } = options
    admission.opened(identity)
    const onEnd = (session: Session) => {
      try {
        onClose?.(session.endedFor)
      } catch (err) {
        app.log.error({ err, sessionId: session.id }, "a session's onClose failed")
      }
    }
    return options.link
      ? openLinked(options, onEnd, owner)
      : start({ identity, face: objectFace, link: createCallbackLink(options.onEvent ?? (() => {}), eventFailed(owner)), connected: false, onEnd }, owner)
  }

  const eventFailed = (owner: string | undefined) => (err: unknown) => app.log.error({ err, feature: owner }, "a session's onEvent failed")

  await registerWebSocketServer(app, () => {
    for (const session of sessions.all()) session.close('SHUTTING_DOWN')
  })

  app.hooks.on('feature:disabled', (name) => {
    const service = services.get(name)
    if (service) service.isOver = true
    services.delete(name)
    for (const session of sessions.all()) if (owners.get(session) === name) session.close('SHUTTING_DOWN')
  })

  app.cluster.on('user:event', ({ userKey, text }) => {
    const event = eventFromText(text)
    for (const session of sessions.ofUser(userKey)) session.write(event)
  })

  const feature: Omit<FeatureSockets, 'open' | 'size'> = {
    get: sessions.get,
    all: sessions.all,
    ofUser: sessions.ofUser,
    renew (session, identity) {
      if (userKeyOf(identity.user.id) !== session.userKey) throw new Forbidden('The token belongs to another user')
      if (!session.open) return
      session.renew(identity)
      expiries.get(session)?.restart()
    },
    receive: (session, data, isBinary) => session.receive(data, isBinary),
    admit: admission.enter,
    async identify (request, token, connection) {
      admission.checkOrigin(request)
      return await admission.identify(request, (verified) => admission.userOf(token, verified), connection)
    },
    async toUser (userId, type, data) {
      check(type, data)
      return await app.cluster.send('user:event', { userKey: userKeyOf(userId), text: createEvent(type, data).text })
    },
    broadcast (type, ...variants) {
      for (const data of variants) check(type, data)
      const events = variants.map((data) => createEvent(type, data))
      let next = 0
      for (const session of sessions.all()) {
        const event = events[next++ % events.length]
        if (event) session.write(event)
      }
    }
  }

  app.decorate('sockets', {
    ...feature,
    admission,
    get size () {
      return sessions.size
    },
    open: openSession,
    accept,
    readWith (fn) {
      reader = fn
    },
    checkWith (fn) {
      check = fn
    },
    forFeature (name) {
      const service = services.get(name) ?? { isOver: false }
      services.set(name, service)
      return {
        ...feature,
        get size () {
          return sessions.size
        },
        open (options) {
          if (service.isOver) throw new FeatureDisabled(name)
          return openSession(options, name)
        }
      }
    }
  } satisfies Sockets)
}, { name: 'sockets', dependencies: ['config', 'clock', 'metrics', 'hooks', 'cluster', 'gate'] })

/**
 * When a user opens a new connection, closes the user's older connections on all servers. A draining server waits until
 * the new session joins a room, so that a user who moves to another server stays in the room. A draining server keeps a
 * connection with audio open for a further {@link handOverMs}, so that the audio is not interrupted.
 *
 * @returns a function to call with the session of each new connection
 */
function replaceOlderSessions (app: Pick<FastifyInstance, 'cluster' | 'hooks'> & { drain?: Drain }, sessions: Pick<SessionRegistry, 'ofUser'>): (session: Session) => void {
  const { cluster, hooks } = app
  const replaced = new WeakSet<Session>()
  const joined = new WeakSet<Session>()
  // All servers receive these messages in the same order. A session that no message has announced yet is newer than the
  // session in the current message.
  const announced = new WeakSet<Session>()
  cluster.on('user:replaced', ({ userKey, keep }) => {
    for (const session of sessions.ofUser(userKey)) {
      if (session.id === keep) announced.add(session)
      else if (!announced.has(session)) continue
      else if (app.drain?.draining === true) replaced.add(session)
      else session.close('REPLACED')
    }
  })
  cluster.on('user:moved', ({ userKey, keep }) => {
    for (const session of sessions.ofUser(userKey)) if (session.id !== keep && replaced.has(session)) endMoved(session)
  })
  async function endMoved (session: Session): Promise<void> {
    const hasAudio = (await hooks.ask('session:moved', session)).includes(true)
    if (hasAudio) setTimeout(() => session.close('SHUTTING_DOWN'), handOverMs).unref()
    else session.close('SHUTTING_DOWN')
  }
  hooks.on('room:join', (_room, session) => {
    if (session.connected && !joined.has(session)) cluster.send('user:moved', { userKey: session.userKey, keep: session.id })
    joined.add(session)
    return {}
  })
  return ({ userKey, id }) => { cluster.send('user:replaced', { userKey, keep: id }) }
}
