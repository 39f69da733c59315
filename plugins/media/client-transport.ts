import type { types } from 'mediasoup'
import { initialOutgoingBitrate } from './codecs.ts'
import { TransportAlreadyConnected } from './errors.ts'
import type { RoomRouter } from './room-router.ts'
import type { MonitoredTransport, TransportDescription } from './transport-monitor.ts'

/** The client's role on a transport: a `producer` sends audio, a `consumer` receives audio. */
export type Direction = 'producer' | 'consumer'

export interface TransportParameters {
  id: string
  iceParameters: types.IceParameters
  iceCandidates: types.IceCandidate[]
  dtlsParameters: types.DtlsParameters
}

/** The router that was chosen for a transport. */
export interface TransportPlace {
  place: RoomRouter
  /**
   * Removes the transport from the counts of the worker and the router. Called exactly once: when the transport closes,
   * or if its creation fails.
   */
  release: () => void
}

export interface ClientTransportOptions {
  direction: Direction
  /** The Opus payload type of the transport's consumers. Default: the payload type of the room's router. */
  payloadType?: number | undefined
  /** Maximum bit rate of all audio from the client, in bits per second. */
  maxIncomingBitrate: number
}

/** A client's WebRTC transport, on one of the routers of a room. */
export class ClientTransport {
  readonly transport: types.WebRtcTransport
  /**
   * The router of the transport and its consumers: the room's router on the worker, or an additional router for a
   * different payload type.
   */
  readonly router: types.Router
  readonly place: RoomRouter
  /** What the client needs to connect. */
  readonly parameters: TransportParameters
  readonly #release: () => void
  #monitored: MonitoredTransport | undefined
  #connected = false

  /** @throws any error that mediasoup throws; in that case, nothing stays open or counted */
  static async open ({ place, release: releasePlace }: TransportPlace, { direction, payloadType, maxIncomingBitrate }: ClientTransportOptions): Promise<ClientTransport> {
    let transport: types.WebRtcTransport | undefined
    let releaseRouter = () => {}
    const release = () => {
      releasePlace()
      releaseRouter()
    }
    try {
      const found = await place.payloadTypes.routerFor(payloadType)
      releaseRouter = found.release
      transport = await found.router.createWebRtcTransport({
        webRtcServer: place.worker.server,
        enableUdp: true,
        enableTcp: true,
        preferUdp: true,
        initialAvailableOutgoingBitrate: initialOutgoingBitrate
      })
      if (direction === 'producer') await transport.setMaxIncomingBitrate(maxIncomingBitrate)
      return new ClientTransport(transport, found.router, place, release)
    } catch (error) {
      transport?.close()
      release()
      throw error
    }
  }

  private constructor (transport: types.WebRtcTransport, router: types.Router, place: RoomRouter, release: () => void) {
    const { id, iceParameters, iceCandidates, dtlsParameters } = transport
    this.transport = transport
    this.router = router
    this.place = place
    this.parameters = { id, iceParameters, iceCandidates: place.worker.candidates(iceCandidates), dtlsParameters }
    this.#release = release
  }

  /** Starts monitoring whether the client connects. Call this once, while the transport is open. */
  monitor (monitor: (transport: types.WebRtcTransport, about: TransportDescription) => MonitoredTransport, about: Omit<TransportDescription, 'candidates'>): void {
    this.#monitored = monitor(this.transport, { ...about, candidates: this.parameters.iceCandidates })
  }

  /** @throws TRANSPORT_ALREADY_CONNECTED */
  async connect (dtlsParameters: types.DtlsParameters): Promise<void> {
    if (this.#connected) throw new TransportAlreadyConnected()
    this.#connected = true
    try {
      await this.transport.connect({ dtlsParameters })
      this.#monitored?.connecting()
    } catch (error) {
      this.#connected = false
      throw error
    }
  }

  async restartIce (): Promise<types.IceParameters> {
    const parameters = await this.transport.restartIce()
    this.#monitored?.connecting()
    return parameters
  }

  /** Closes the transport, which also closes its producers and consumers. Call this exactly once. */
  close (): void {
    this.transport.close()
    this.#release()
  }
}
