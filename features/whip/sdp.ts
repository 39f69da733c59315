import { parse, parseParams, write } from 'sdp-transform'
import type { MediaDescription, SessionDescription } from 'sdp-transform'
import { validationFailed } from 'flylive-audio-server/feature'
import type { DtlsParameters, RtpCapabilities, RtpParameters } from 'flylive-audio-server/feature'
import { OfferNotAcceptable } from './errors.ts'

// Contrary to its type declarations, the SDP parser returns numeric strings as numbers.
type Media = SessionDescription['media'][number]

/** The server's parameters in the answer to an offer. */
export interface ServerParameters {
  iceParameters: { usernameFragment: string, password: string }
  iceCandidates: readonly { foundation: string, priority: number, ip?: string | undefined, address?: string | undefined, protocol: string, port: number, type: string, tcpType?: string | undefined }[]
  dtlsParameters: { fingerprints: readonly { algorithm: string, value: string }[] }
}

/** The audio section of an offer. */
export interface Offer {
  session: SessionDescription
  /** Index of the audio section. */
  index: number
  media: Media
  payloadType: number
  iceUfrag: string
  /** The client's DTLS parameters, for `connectTransport`. */
  dtlsParameters: DtlsParameters
  /** True if the client can act only as the DTLS server (`a=setup:passive`). */
  isPassive: boolean
}

/** The RTP header extensions that the server supports for audio. */
const knownExtensions = new Set([
  'urn:ietf:params:rtp-hdrext:sdes:mid',
  'urn:ietf:params:rtp-hdrext:ssrc-audio-level',
  'http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time',
  'http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01'
])
const transportCc = 'http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01'

/** Length of a certificate fingerprint in bytes, by hash function (RFC 8122, section 5). */
const digestOctets: Readonly<Record<string, number>> = { 'sha-1': 20, 'sha-224': 28, 'sha-256': 32, 'sha-384': 48, 'sha-512': 64 }

const invalid = (message: string) => validationFailed([{ path: [], message }])

function fingerprintOf (session: SessionDescription, media: Media): { algorithm: string, value: string } {
  const fingerprint = media.fingerprint ?? session.fingerprint
  const algorithm = String(fingerprint?.type ?? '').toLowerCase()
  const octets = digestOctets[algorithm]
  if (!fingerprint || octets === undefined || !new RegExp(`^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){${octets - 1}}$`).test(String(fingerprint.hash))) throw invalid('The offer has no valid fingerprint')
  return { algorithm, value: String(fingerprint.hash).toUpperCase() }
}

/**
 * Parses an SDP offer and picks the first audio section whose direction is usable. This section must contain Opus. The
 * answer rejects all other sections.
 *
 * @param direction whether the client must be able to send or to receive audio
 * @throws VALIDATION_FAILED if the offer is not valid; OFFER_NOT_ACCEPTABLE if it has no usable audio section
 */
export function parseOffer (text: string, direction: 'send' | 'receive'): Offer {
  if (!/^v=0\r?$/m.test(text)) throw invalid('The body is not an SDP offer')
  let session: SessionDescription
  try {
    session = parse(text)
  } catch {
    throw invalid('The body is not an SDP offer')
  }
  const refused = direction === 'send' ? ['recvonly', 'inactive'] : ['sendonly', 'inactive']
  const isUsable = ({ type, port, direction = session.direction ?? 'sendrecv' }: Media) => type === 'audio' && (port !== 0) && !refused.includes(direction)
  const index = session.media.findIndex(isUsable)
  const media = session.media[index]
  if (!media) throw new OfferNotAcceptable(`The offer has no audio section that lets the client ${direction}`)
  const opus = media.rtp.find(({ codec, rate }) => String(codec).toLowerCase() === 'opus' && rate === 48_000)
  if (!opus || opus.payload < 0 || opus.payload > 127) throw new OfferNotAcceptable('The offer does not contain Opus')
  const iceUfrag = media.iceUfrag ?? session.iceUfrag
  const icePwd = media.icePwd ?? session.icePwd
  if (iceUfrag === undefined || icePwd === undefined) throw invalid('The offer has no ICE credentials')
  const isPassive = (media.setup ?? session.setup) === 'passive'
  return {
    session,
    index,
    media,
    payloadType: opus.payload,
    iceUfrag: String(iceUfrag),
    dtlsParameters: { role: isPassive ? 'server' : 'client', fingerprints: [fingerprintOf(session, media)] } as DtlsParameters,
    isPassive
  }
}

const midOf = ({ media, index }: Pick<Offer, 'media' | 'index'>): string => String(media.mid ?? index).slice(0, 16)

function extensionsOf ({ media }: Offer): { uri: string, id: number }[] {
  const found = (media.ext ?? []).filter(({ uri, value }) => knownExtensions.has(uri) && value >= 1 && value <= 255)
  return [...new Map(found.map(({ uri, value }) => [uri, { uri, id: value }])).values()]
}

function feedbackOf ({ media, payloadType }: Offer): { type: string, parameter: string }[] {
  const wanted = (media.rtcpFb ?? []).some(({ payload, type }) => (payload === payloadType || String(payload) === '*') && type === 'transport-cc')
  return wanted && media.ext?.some(({ uri }) => uri === transportCc) ? [{ type: 'transport-cc', parameter: '' }] : []
}

/** @returns those Opus parameters of the offer that the server uses */
function opusParameters ({ media, payloadType }: Offer): Record<string, number> {
  const config = media.fmtp.find(({ payload }) => payload === payloadType)?.config
  const given = config === undefined ? {} : parseParams(String(config))
  const names = ['minptime', 'useinbandfec', 'usedtx', 'stereo', 'sprop-stereo', 'maxaveragebitrate']
  return Object.fromEntries(names.flatMap((name) => Number.isInteger(given[name]) ? [[name, Number(given[name])]] : []))
}

/** @returns the RTP parameters of the client's audio, for `sfu.produce` */
export function rtpParametersOf (offer: Offer): RtpParameters {
  const { media, payloadType } = offer
  const ssrc = Number(media.ssrcs?.[0]?.id)
  const cname = String(media.ssrcs?.find(({ attribute }) => attribute === 'cname')?.value ?? '').slice(0, 256)
  return {
    mid: midOf(offer),
    codecs: [{ mimeType: 'audio/opus', payloadType, clockRate: 48_000, channels: 2, parameters: opusParameters(offer), rtcpFeedback: feedbackOf(offer) }],
    headerExtensions: extensionsOf(offer),
    // If the offer has no SSRC, the server identifies packets by their MID or payload type.
    encodings: [Number.isInteger(ssrc) && ssrc > 0 && ssrc <= 0xffffffff ? { ssrc } : {}],
    rtcp: { ...(cname === '' ? {} : { cname }), reducedSize: media.rtcpRsize !== undefined }
  } as RtpParameters
}

/** @returns the client's capabilities for `audio:consume`, without header extensions, which players do not need */
export const rtpCapabilitiesOf = ({ payloadType }: Offer): RtpCapabilities => ({
  codecs: [{ kind: 'audio', mimeType: 'audio/opus', preferredPayloadType: payloadType, clockRate: 48_000, channels: 2, parameters: {}, rtcpFeedback: [] }],
  headerExtensions: []
})

function candidatesOf ({ iceCandidates }: ServerParameters): NonNullable<MediaDescription['candidates']> {
  return iceCandidates.map(({ foundation, priority, ip, address, protocol, port, type, tcpType }) => ({
    foundation, component: 1, transport: protocol, priority, ip: ip ?? address ?? '', port, type, ...(tcpType === undefined ? {} : { tcptype: tcpType })
  }))
}

/** The stream that the server sends to a player. */
export interface SentAudio {
  payloadType: number
  ssrc: number
  cname: string
}

/**
 * @param sent the stream that the server sends; undefined if the server receives audio
 * @returns the SDP answer
 */
export function answerTo (offer: Offer, server: ServerParameters, sent?: SentAudio): string {
  const { session, index, media, isPassive } = offer
  const payloadType = sent?.payloadType ?? offer.payloadType
  const mid = midOf(offer)
  const fingerprint = server.dtlsParameters.fingerprints.find(({ algorithm }) => algorithm === 'sha-256') ?? server.dtlsParameters.fingerprints[0]
  const feedback = sent ? [] : feedbackOf(offer)
  const audio = {
    type: 'audio',
    port: 9,
    protocol: media.protocol,
    payloads: String(payloadType),
    connection: { version: 4, ip: '0.0.0.0' },
    ...(media.mid === undefined ? {} : { mid }),
    direction: sent ? 'sendonly' as const : 'recvonly' as const,
    rtp: [{ payload: payloadType, codec: 'opus', rate: 48_000, encoding: 2 }],
    fmtp: [{ payload: payloadType, config: 'minptime=10;useinbandfec=1' }],
    ...(feedback.length > 0 ? { rtcpFb: feedback.map(({ type }) => ({ payload: payloadType, type })) } : {}),
    ...(sent ? {} : { ext: extensionsOf(offer).map(({ uri, id }) => ({ value: id, uri })) }),
    ...(sent ? { msid: [{ id: sent.cname, appdata: sent.cname }], ssrcs: [{ id: sent.ssrc, attribute: 'cname', value: sent.cname }] } : {}),
    iceUfrag: server.iceParameters.usernameFragment,
    icePwd: server.iceParameters.password,
    fingerprint: { type: fingerprint?.algorithm ?? '', hash: fingerprint?.value ?? '' },
    setup: isPassive ? 'active' as const : 'passive' as const,
    candidates: candidatesOf(server),
    endOfCandidates: 'end-of-candidates' as const,
    rtcpMux: 'rtcp-mux' as const,
    rtcpRsize: 'rtcp-rsize' as const
  }
  const rejected = (other: Media) => ({
    type: other.type,
    port: 0,
    protocol: other.protocol,
    payloads: other.payloads ?? '0',
    connection: { version: 4, ip: '0.0.0.0' },
    ...(other.mid === undefined ? {} : { mid: String(other.mid) }),
    direction: 'inactive' as const,
    rtp: [],
    fmtp: []
  })
  return write({
    version: 0,
    origin: { username: '-', sessionId: String(Date.now()), sessionVersion: 1, netType: 'IN', ipVer: 4, address: '127.0.0.1' },
    name: '-',
    timing: { start: 0, stop: 0 },
    ...(media.mid === undefined ? {} : { groups: [{ type: 'BUNDLE', mids: mid }] }),
    icelite: 'ice-lite',
    media: session.media.map((other, i) => i === index ? audio : rejected(other)) as SessionDescription['media']
  })
}

/** The ICE credentials in the body of a PATCH request (RFC 8840). */
export interface Fragment {
  iceUfrag: string | undefined
  icePwd: string | undefined
}

/** @throws VALIDATION_FAILED if the body is not an SDP fragment */
export function parseFragment (text: string): Fragment {
  const lines = text.split(/\r?\n/).filter((line) => line !== '')
  if (lines.length === 0 || lines.some((line) => !/^[a-z]=\S/.test(line))) throw invalid('The body is not an SDP fragment')
  const valueOf = (name: string) => lines.find((line) => line.startsWith(`a=${name}:`))?.slice(name.length + 3)
  return { iceUfrag: valueOf('ice-ufrag'), icePwd: valueOf('ice-pwd') }
}

/** @returns the SDP fragment with the server's new ICE credentials, for the response to an ICE restart */
export function fragmentOf (offer: Offer, server: ServerParameters): string {
  const { media } = offer
  const mid = midOf(offer)
  const lines = write({
    version: 0,
    origin: { username: '-', sessionId: '0', sessionVersion: 1, netType: 'IN', ipVer: 4, address: '127.0.0.1' },
    name: '-',
    timing: { start: 0, stop: 0 },
    media: [{ type: 'audio', port: 9, protocol: media.protocol, payloads: '0', mid, rtp: [], fmtp: [], candidates: candidatesOf(server), endOfCandidates: 'end-of-candidates' }]
  }).split('\r\n').filter((line) => /^m=|^a=(mid|candidate|end-of-candidates)/.test(line))
  const { usernameFragment, password } = server.iceParameters
  return ['a=ice-lite', `a=ice-ufrag:${usernameFragment}`, `a=ice-pwd:${password}`, ...lines, ''].join('\r\n')
}
