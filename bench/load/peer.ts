import { Audio as AudioMedia, cleanup, PeerConnection } from 'node-datachannel'
import { Failure } from './failure.ts'

/** Maximum duration of the ICE and DTLS set-up, in milliseconds. */
const connectTimeoutMs = 10_000

/** The parts of a `transport:create` reply that a client needs. */
export interface TransportParameters {
  id: string
  iceParameters: { usernameFragment: string, password: string }
  iceCandidates: { foundation: string, priority: number, address: string, protocol: 'udp' | 'tcp', port: number }[]
  dtlsParameters: { fingerprints: { algorithm: string, value: string }[] }
}

/** The client's end of a WebRTC transport. The peer implements ICE, DTLS and SRTP, but no codec. */
export interface MediaPeer {
  /** For `transport:connect`. */
  readonly dtlsParameters: { role: 'client', fingerprints: { algorithm: 'sha-256', value: string }[] }
  /**
   * Connects to the server over UDP.
   *
   * @throws Failure `MEDIA_FAILED`
   */
  connect (transport: TransportParameters): Promise<void>
  /** Encrypts and sends an RTP or RTCP packet. Does nothing while the peer is not connected. */
  send (packet: Buffer): void
  /** Idempotent. */
  close (): void
}

/**
 * The connection and the track of each open peer. The references prevent garbage collection, because the native
 * callbacks of a garbage-collected track would crash the process.
 */
const open = new Set<{ connection: object, track: object }>()

/**
 * Creates a peer with one audio section in its SDP. All streams of the transport arrive in this section, whatever their
 * SSRC and MID.
 *
 * @param received called with each RTP and RTCP packet that SRTP has authenticated and decrypted
 */
export async function createPeer (direction: 'send' | 'receive', payloadType: number, received: (packet: Buffer) => void = () => {}): Promise<MediaPeer> {
  const connection = new PeerConnection(direction, { iceServers: [], disableAutoNegotiation: true })
  const description = Promise.withResolvers<string>()
  connection.onLocalDescription((sdp) => description.resolve(sdp))
  const media = new AudioMedia('0', direction === 'send' ? 'SendOnly' : 'RecvOnly')
  media.addOpusCodec(payloadType)
  const track = connection.addTrack(media)
  track.onMessage(received)
  const held = { connection, track }
  open.add(held)
  let state = 'new'
  const connected = Promise.withResolvers<void>()
  connected.promise.catch(() => { /* Prevents an unhandled rejection if `connect` is never called. */ })
  connection.onStateChange((now) => {
    state = now
    if (state === 'connected') connected.resolve()
    else if (state === 'failed' || state === 'closed') connected.reject(new Failure('MEDIA_FAILED', `The audio connection ${state}`))
  })
  connection.setLocalDescription('offer')
  const fingerprint = /a=fingerprint:sha-256 (\S+)/i.exec(await description.promise)?.[1] ?? ''

  return {
    dtlsParameters: { role: 'client', fingerprints: [{ algorithm: 'sha-256', value: fingerprint }] },
    async connect (transport) {
      const candidates = transport.iceCandidates.filter(({ protocol }) => protocol === 'udp')
      const addresses = candidates.map(({ address, port }) => `${address}:${port}/udp`).join(', ')
      connection.setRemoteDescription(answerOf(transport, direction, payloadType), 'answer')
      for (const { foundation, priority, address, port } of candidates) {
        connection.addRemoteCandidate(`candidate:${foundation} 1 udp ${priority} ${address} ${port} typ host`, '0')
      }
      const timer = setTimeout(() => {
        connected.reject(new Failure('MEDIA_FAILED', `No audio connection to ${addresses || 'any UDP address of the server'} within ${connectTimeoutMs / 1000} s`))
      }, connectTimeoutMs)
      await connected.promise.finally(() => clearTimeout(timer))
    },
    send (packet) {
      if (state !== 'connected') return
      try {
        track.sendMessageBinary(packet)
      } catch { /* The server has just closed the transport; `onStateChange` is called next. */ }
    },
    close () {
      if (!open.delete(held)) return
      connection.close()
    }
  }
}

/** Stops the threads of the WebRTC library. No peer can be created after this call. */
export function stopPeers (): void {
  cleanup()
}

/** @returns an SDP answer that describes the server's end of the transport */
function answerOf ({ iceParameters, dtlsParameters }: TransportParameters, direction: 'send' | 'receive', payloadType: number): string {
  const fingerprint = dtlsParameters.fingerprints.find(({ algorithm }) => algorithm === 'sha-256')
  if (!fingerprint) throw new Failure('MEDIA_FAILED', 'The server sent no SHA-256 fingerprint of its certificate')
  return [
    'v=0',
    'o=- 1 1 IN IP4 0.0.0.0',
    's=-',
    't=0 0',
    'a=ice-lite',
    'a=group:BUNDLE 0',
    `a=fingerprint:sha-256 ${fingerprint.value}`,
    'a=setup:passive',
    `m=audio 9 UDP/TLS/RTP/SAVPF ${payloadType}`,
    'c=IN IP4 0.0.0.0',
    'a=mid:0',
    direction === 'send' ? 'a=recvonly' : 'a=sendonly',
    'a=rtcp-mux',
    `a=rtpmap:${payloadType} opus/48000/2`,
    `a=ice-ufrag:${iceParameters.usernameFragment}`,
    `a=ice-pwd:${iceParameters.password}`,
    ''
  ].join('\r\n')
}
