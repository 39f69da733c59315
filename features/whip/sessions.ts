import { randomUUID } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { Forbidden, isCoded, RoomNotFound, userKeyOf, withDetails } from 'flylive-audio-server/feature'
import type { ClusterRequestData, FeatureInstance, HttpRequest, LocalRoom, ProducerOwner, Session } from 'flylive-audio-server/feature'
import { OfferNotAcceptable, PreconditionFailed, PreconditionRequired, SessionNotFound } from './errors.ts'
import { answerTo, fragmentOf, parseFragment, parseOffer, rtpCapabilitiesOf, rtpParametersOf } from './sdp.ts'
import type { Offer, SentAudio, ServerParameters } from './sdp.ts'

/** How long a session stays open without an ICE connection, in milliseconds. */
const unconnectedMs = 30_000
/** Timeout of a request that is forwarded to the server that owns the session, in milliseconds. */
const askMs = 5000

type Kind = 'whip' | 'whep'

/**
 * A request about a session. `userKey` identifies the authenticated user; undefined if the `auth` feature is
 * off.
 */
interface SessionCall extends ResourceParams {
  kind: Kind
  userKey?: string | undefined
}

interface Restarted {
  etag: string
  fragment: string
}

declare module 'flylive-audio-server/feature' {
  interface ClusterRequests {
    /** `reply` is null if ICE was not restarted. */
    'whip:patch': { data: SessionCall & { ifMatch: string, fragment: string }, reply: Restarted | null }
    'whip:end': { data: SessionCall, reply: null }
  }
}

/** A client's session on this server. Clients address it by URL. */
interface Resource {
  id: string
  kind: Kind
  roomId: string
  userKey: string
  session: Session
  transportId: string
  offer: Offer
  server: ServerParameters
  /** The client's ICE username fragment. */
  iceUfrag: string
  etag: string
  /**
   * When the ICE connection was lost or, before the first connection, when the session opened, in epoch milliseconds.
   * Undefined while connected.
   */
  unconnectedSince: number | undefined
}

/** The fields of the reply to `room:join` that this feature uses. */
interface JoinReply {
  seats?: { seatIndex: number, userId: string | number }[]
  seatCount?: number
  lockedSeats?: number[]
  iceServers?: { urls: string | string[], username?: string, credential?: string }[]
}

interface ResourceParams {
  roomId: string
  id: string
}

/** The sessions of WHIP and WHEP clients. A reload of the feature does not end these sessions. */
export interface Sessions {
  /**
   * Opens a session for an offer.
   *
   * @throws any error of `parseOffer`, or of the requests that this method runs, such as `room:join`
   */
  open (kind: Kind, request: HttpRequest, roomId: string, pin: string | undefined, offer: string): Promise<{ id: string, answer: string, etag: string, links: string[] }>
  /**
   * Handles ICE candidates and ICE restarts.
   *
   * @param ifMatch the ETag, or `*` to restart ICE
   * @returns the server's new ICE credentials; null if ICE was not restarted
   */
  patch (kind: Kind, request: HttpRequest, params: ResourceParams, ifMatch: string | undefined, fragment: string): Promise<Restarted | null>
  end (kind: Kind, request: HttpRequest, params: ResourceParams): Promise<void>
  /** Ends the sessions that have had no ICE connection for {@link unconnectedMs}. */
  check (): void
  /**
   * Ends a player's session after the server has closed its consumer, for example because the `mix` feature was
   * disabled. A player cannot request another consumer, so it must open a new session.
   */
  consumerClosed (session: Session): void
  /**
   * Ends an encoder's session after the server has closed its producer, for example because the user has lost the
   * seat. An encoder cannot send another `audio:produce`, so it must open a new session.
   */
  producerClosed (owner: ProducerOwner): void
}

/** Separates the server id from the rest of a session id. */
const idSeparator = '~'

const etagOf = ({ iceParameters }: ServerParameters) => `"${iceParameters.usernameFragment}"`

const tokenOf = ({ headers }: HttpRequest): string | undefined => /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1]

/** ICE servers as Link headers (RFC 9725, section 4.6). */
function linksOf ({ iceServers = [] }: JoinReply): string[] {
  const quoted = (text: string) => `"${text.replace(/["\\]/g, '\\$&')}"`
  return iceServers.flatMap(({ urls, username, credential }) => [urls].flat().map((url) => [
    `<${url}>; rel="ice-server"`,
    ...(username === undefined ? [] : [`username=${quoted(username)}`]),
    ...(credential === undefined ? [] : [`credential=${quoted(credential)}`, 'credential-type="password"'])
  ].join('; ')))
}

export function createSessions (app: FeatureInstance): Sessions {
  const { clock, cluster, features, log, messages, metrics, nodeId, rooms, sfu, sockets, store } = app
  const resources = app.keep('resources', () => new Map<string, Resource>())
  /** The sessions of WHEP players. */
  const players = app.keep('players', () => new WeakSet<Session>())
  /** The sessions of WHIP encoders. */
  const encoders = app.keep('encoders', () => new WeakSet<Session>())
  const open = metrics.gauge('flylive_whip_sessions', 'Open WHIP and WHEP sessions', ['kind'])
  const count = () => { for (const kind of ['whip', 'whep']) open.set({ kind }, [...resources.values()].filter((resource) => resource.kind === kind).length) }
  count()

  /**
   * Opens a session, which counts towards the connection limits until it ends.
   *
   * @param ended called when the session ends
   * @throws any error of `sockets.admit`, `sockets.identify` or `sockets.open`
   */
  async function openSession (request: HttpRequest, ended: () => void): Promise<Session> {
    const connection = new EventEmitter()
    const close = () => connection.emit('close')
    try {
      sockets.admit(request.raw, connection)
      const identity = await sockets.identify(request.raw, tokenOf(request), connection)
      return sockets.open({
        identity,
        onClose () {
          close()
          ended()
        }
      })
    } catch (error) {
      close()
      throw error
    }
  }

  /**
   * Takes the first free seat, unless the user already has a seat.
   *
   * @throws SEAT_TAKEN if no seat is free
   */
  async function takeSeat (session: Session, { seats, seatCount = 0, lockedSeats = [] }: JoinReply): Promise<void> {
    if (!seats || seats.some(({ userId }) => userKeyOf(userId) === session.userKey)) return
    const unavailable = new Set([...lockedSeats, ...seats.map(({ seatIndex }) => seatIndex)])
    let refused: unknown
    for (let seatIndex = 0; seatIndex < seatCount; seatIndex++) {
      if (unavailable.has(seatIndex)) continue
      try {
        await messages.dispatch(session, 'seat:take', { seatIndex })
        return
      } catch (error) {
        if (!isCoded(error) || (error.code !== 'SEAT_TAKEN' && error.code !== 'SEAT_LOCKED')) throw error
        refused = error
      }
    }
    if (isCoded(refused) && refused.code === 'SEAT_TAKEN') throw refused
    const error = new Error('All seats in the room are taken or locked')
    throw Object.assign(error, { code: 'SEAT_TAKEN', statusCode: 409 })
  }

  function localRoom (roomId: string): LocalRoom {
    const room = rooms.get(roomId)
    if (!room) throw new RoomNotFound(roomId)
    return room
  }

  async function createTransport (session: Session, roomId: string, kind: Kind, offer: Offer): Promise<ServerParameters & { id: string }> {
    const transport = await sfu.createTransport(localRoom(roomId), session, kind === 'whip' ? 'producer' : 'consumer', kind === 'whip' ? {} : { payloadType: offer.payloadType })
    await sfu.connectTransport(session, transport.id, offer.dtlsParameters)
    return transport as unknown as ServerParameters & { id: string }
  }

  /** Starts sending the mix to a player. */
  async function sendMix (session: Session, transportId: string, offer: Offer): Promise<SentAudio> {
    const { id, rtpParameters } = await messages.dispatch(session, 'audio:consume', { transportId, producerId: 'mix', rtpCapabilities: rtpCapabilitiesOf(offer) }) as
      { id: string, rtpParameters: { codecs: { payloadType: number }[], encodings: { ssrc: number }[], rtcp: { cname: string } } }
    await messages.dispatch(session, 'consumer:resume', { consumerId: id })
    return { payloadType: rtpParameters.codecs[0]?.payloadType as number, ssrc: rtpParameters.encodings[0]?.ssrc as number, cname: rtpParameters.rtcp.cname }
  }

  /** @throws UNAUTHORIZED, UNAVAILABLE */
  async function callOf (kind: Kind, request: HttpRequest, { roomId, id }: ResourceParams): Promise<SessionCall> {
    const user = (await features.getFeature('auth')?.identify(tokenOf(request)))?.user
    return { kind, roomId, id, ...(user ? { userKey: userKeyOf(user.id) } : {}) }
  }

  function find ({ kind, roomId, id, userKey }: SessionCall): Resource {
    const resource = resources.get(id)
    if (!resource || resource.kind !== kind || resource.roomId !== roomId) throw new SessionNotFound(id)
    if (userKey !== undefined && resource.userKey !== userKey) throw new Forbidden('The session belongs to another user')
    return resource
  }

  // A load balancer may send a request to any server, so a session's id contains the id of its server.
  const serverOf = ({ id }: SessionCall): string => id.includes(idSeparator) ? id.slice(0, id.lastIndexOf(idSeparator)) : nodeId

  /** Returns a function that rethrows an error of `cluster.ask`. The sessions of a server end with the server. */
  const askFailed = ({ id }: SessionCall) => (error: unknown): never => {
    if (error instanceof Error && 'isGone' in error) throw new SessionNotFound(id)
    throw error
  }

  async function patchHere ({ ifMatch, fragment, ...call }: ClusterRequestData<'whip:patch'>): Promise<Restarted | null> {
    const resource = find(call)
    const { iceUfrag } = parseFragment(fragment)
    const isRestart = ifMatch === '*'
    if (!isRestart && ifMatch !== resource.etag) throw new PreconditionFailed()
    // The server is an ICE lite agent, so it does not need the client's candidates.
    if (!isRestart || iceUfrag === undefined || iceUfrag === resource.iceUfrag) return null
    const iceParameters = await sfu.restartIce(resource.session, resource.transportId)
    resource.server = { ...resource.server, iceParameters }
    resource.iceUfrag = iceUfrag
    resource.etag = etagOf(resource.server)
    return { etag: resource.etag, fragment: fragmentOf(resource.offer, resource.server) }
  }

  /**
   * Ends a session whose client no longer needs it. The session leaves the room first, so that the user's seat becomes
   * free immediately: after a lost connection, the seat would wait for the user to return.
   */
  async function leave (session: Session): Promise<void> {
    if (session.roomId !== null) await messages.dispatch(session, 'room:leave').catch(() => { /* The session leaves the room when it ends. */ })
    session.end()
  }

  async function endHere (call: SessionCall): Promise<null> {
    await leave(find(call).session)
    return null
  }

  cluster.answer('whip:patch', patchHere)
  cluster.answer('whip:end', endHere)

  return {
    async open (kind, request, roomId, pin, text) {
      const id = `${nodeId}${idSeparator}${randomUUID()}`
      const session = await openSession(request, () => {
        resources.delete(id)
        count()
      })
      try {
        // Unlike an encoder, a player cannot create a room.
        if (kind === 'whep' && !await store.getRoom(roomId)) throw new RoomNotFound(roomId)
        const offer = parseOffer(text, kind === 'whip' ? 'send' : 'receive')
        const joined = await messages.dispatch(session, 'room:join', { roomId, ...(pin === undefined ? {} : { pin }) }) as JoinReply
        if (kind === 'whip') await takeSeat(session, joined)
        const server = await createTransport(session, roomId, kind, offer)
        let sent: SentAudio | undefined
        if (kind === 'whip') await sfu.produce(session, server.id, rtpParametersOf(offer))
        else sent = await sendMix(session, server.id, offer)
        if (!session.open) throw new SessionNotFound(id)
        const etag = etagOf(server)
        if (kind === 'whep') players.add(session)
        else encoders.add(session)
        resources.set(id, { id, kind, roomId, userKey: session.userKey, session, transportId: server.id, offer, server, iceUfrag: offer.iceUfrag, etag, unconnectedSince: clock.now() })
        count()
        return { id, answer: answerTo(offer, server, sent), etag, links: linksOf(joined) }
      } catch (error) {
        await leave(session)
        // A TypeError means that the media worker has rejected the parameters of the offer.
        if (error instanceof TypeError) throw withDetails(new OfferNotAcceptable('The server cannot accept the offer'), { reason: error.message })
        throw error
      }
    },
    async patch (kind, request, params, ifMatch, text) {
      const call = await callOf(kind, request, params)
      if (ifMatch === undefined) throw new PreconditionRequired()
      const data = { ...call, ifMatch, fragment: text }
      const server = serverOf(call)
      return server === nodeId ? await patchHere(data) : await cluster.ask(server, 'whip:patch', data, askMs).catch(askFailed(call))
    },
    async end (kind, request, params) {
      const call = await callOf(kind, request, params)
      const server = serverOf(call)
      if (server === nodeId) await endHere(call)
      else await cluster.ask(server, 'whip:end', call, askMs).catch(askFailed(call))
    },
    check () {
      const now = clock.now()
      for (const roomId of new Set([...resources.values()].map((resource) => resource.roomId))) {
        const connected = new Set((sfu.describe(roomId)?.transports ?? []).filter(({ iceState }) => iceState === 'connected' || iceState === 'completed').map(({ transportId }) => transportId))
        for (const resource of resources.values()) {
          if (resource.roomId !== roomId) continue
          resource.unconnectedSince = connected.has(resource.transportId) ? undefined : resource.unconnectedSince ?? now
          if (resource.unconnectedSince === undefined || now - resource.unconnectedSince < unconnectedMs) continue
          log.debug({ roomId, userId: resource.session.user.id }, 'ending a WHIP or WHEP session without an ICE connection')
          resource.session.end()
        }
      }
    },
    consumerClosed (session) {
      // End the session in the next tick, because the server may be closing further consumers of the room.
      if (players.has(session)) process.nextTick(() => session.end())
    },
    producerClosed ({ sessionId }) {
      const session = sessionId === undefined ? undefined : sockets.get(sessionId)
      // End the session in the next tick: if it is leaving the room, the leave must come first.
      if (session && encoders.has(session)) process.nextTick(() => session.end())
    }
  }
}
