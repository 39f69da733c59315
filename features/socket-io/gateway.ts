import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { Server as Engine } from 'engine.io'
import type { Socket as EngineSocket } from 'engine.io'
import type { Face, FeatureConfig, Session } from 'flylive-audio-server/feature'
import { Server } from 'socket.io'
import type { DefaultEventsMap, Socket } from 'socket.io'
import { Encoder } from 'socket.io-parser'
import { WebSocketServer } from 'ws'
import type { ServerOptions, WebSocket } from 'ws'
import { FrameDecoder } from './decoder.ts'
import type { ClientEvents } from './decoder.ts'
import { terminate } from './link.ts'
import type { Packet } from './packets.ts'

/** Maximum time from a client's first request to the packet that contains the token, in milliseconds. */
const connectMs = 10_000
/** Maximum number of packets from a client that has no session yet. A well-behaved client sends one. */
const maxEarlyPackets = 10

export type Client = Socket<ClientEvents, DefaultEventsMap>

/** The functions with which the running generation of the feature handles connections. */
export interface Mapping {
  face: Face<Packet>
  /**
   * Counts a new connection.
   *
   * @throws if the server accepts no more connections
   */
  arrived (connection: EngineSocket): void
  /**
   * Identifies the user of a client that has sent its token.
   *
   * @throws the error that the client receives as `connect_error`
   */
  identify (client: Client): Promise<void>
  /** Opens a session for a client whose user was identified. */
  open (client: Client, face: Face<Packet>): Session
}

/** The Socket.IO server, whose connections survive reloads of the feature. */
export interface Gateway {
  /** Replaces the mapping that handles connections and messages. */
  use (mapping: Mapping): void
  handleRequest (request: IncomingMessage, response: ServerResponse): void
  handleUpgrade (request: IncomingMessage, socket: Duplex, head: Buffer): void
  close (): void
}

type Settings = Pick<FeatureConfig, 'WS_MAX_FRAME_BYTES' | 'WS_PING_SECONDS' | 'WS_PONG_TIMEOUT_SECONDS'>

/** The state of one Engine.IO connection. */
interface ConnectionState {
  session?: Session
  isConnecting: boolean
  packets: number
}

export function createGateway (config: Settings, mapping: Mapping): Gateway {
  let current = mapping
  const connections = new Set<EngineSocket>()
  const states = new WeakMap<EngineSocket, ConnectionState>()
  /** Maps the first request of each connection to the connection. */
  const byRequest = new WeakMap<IncomingMessage, EngineSocket>()
  // All sessions share this object, even after a reload, so that each event is encoded only once.
  const face: Face<Packet> = {
    name: mapping.face.name,
    parse: (data, isBinary) => current.face.parse(data, isBinary),
    event: (event) => current.face.event(event),
    reply: (id, outcome) => current.face.reply(id, outcome)
  }

  /** Counts a packet that is not a request, to limit the number of packets. */
  function count (connection: EngineSocket, bytes: number): void {
    const state = states.get(connection)
    if (state?.session) state.session.admit(bytes)
    else if (state && ++state.packets > maxEarlyPackets) connection.close(true)
  }

  /** The WebSocket server of the engine. Pings and pongs count towards the message limit, as on `/ws`. */
  class WebSockets extends WebSocketServer {
    constructor (options: ServerOptions) {
      super({ ...options, allowSynchronousEvents: false })
    }

    override handleUpgrade (request: IncomingMessage, socket: Duplex, head: Buffer, opened: (ws: WebSocket, request: IncomingMessage) => void): void {
      super.handleUpgrade(request, socket, head, (ws) => {
        const countControlFrame = ({ length }: Buffer) => {
          const connection = byRequest.get(request)
          if (connection) count(connection, length)
        }
        ws.on('ping', countControlFrame)
        ws.on('pong', countControlFrame)
        opened(ws, request)
      })
    }
  }

  const engine = new Engine({
    transports: ['polling', 'websocket'],
    maxHttpBufferSize: config.WS_MAX_FRAME_BYTES,
    pingInterval: config.WS_PING_SECONDS * 1000,
    pingTimeout: config.WS_PONG_TIMEOUT_SECONDS * 1000,
    httpRequestBodyTimeout: connectMs,
    perMessageDeflate: false,
    httpCompression: false,
    wsEngine: WebSockets
  })
  const io = new Server<ClientEvents>({ serveClient: false, connectTimeout: connectMs, parser: { Encoder, Decoder: FrameDecoder } })

  engine.on('connection', (connection: EngineSocket) => {
    const state: ConnectionState = { isConnecting: false, packets: 0 }
    connections.add(connection)
    connection.once('close', () => connections.delete(connection))
    states.set(connection, state)
    byRequest.set(connection.request, connection)
    connection.on('packet', ({ type, data }: { type: string, data?: string }) => {
      // A session's messages are counted later, when the session handles them.
      if (type !== 'message' || !state.session) count(connection, data?.length ?? 0)
    })
    connection.on('upgrading', (transport: { socket?: WebSocket }) => {
      for (const name of ['ping', 'pong']) transport.socket?.on(name, ({ length }: Buffer) => count(connection, length))
    })
    try {
      current.arrived(connection)
    } catch {
      connection.close(true)
    }
  })
  io.bind(engine)

  io.use((client, next) => {
    const state = states.get(client.conn)
    // A client is allowed to authenticate only once per connection.
    if (!state || state.isConnecting) {
      client.conn.close(true)
      return next(new Error('The connection is closed'))
    }
    state.isConnecting = true
    current.identify(client).then(() => next(), next)
  })
  io.on('connection', (client) => {
    const { conn: connection } = client
    let session: Session
    try {
      session = current.open(client, face)
    } catch {
      // The server no longer accepts connections. The client retries.
      connection.close()
      return
    }
    Object.assign(states.get(connection) ?? {}, { session })
    client.on('frame', (packet) => session.receive(Buffer.from(packet), false))
    client.on('unsupported', () => session.close('UNSUPPORTED_DATA'))
    client.once('disconnect', () => {
      // End the session in the next tick, because the server may be iterating over the members of the session's room.
      process.nextTick(() => session.end())
      connection.close()
    })
  })

  return {
    use (mapping) {
      current = mapping
    },
    handleRequest: (request, response) => engine.handleRequest(request as never, response),
    handleUpgrade: (request, socket, head) => engine.handleUpgrade(request as never, socket, head),
    close () {
      for (const connection of connections) terminate(connection)
      engine.close()
    }
  }
}
