/** A rating of the audio quality, to show to users. */
export type QualityRating = 'good' | 'fair' | 'poor'

/** Audio quality in one direction: sent or received. */
export interface StreamQuality {
  readonly packets: number
  /** Lost packets divided by sent packets, 0 to 1. */
  readonly lossRatio: number
  /** Interarrival jitter (RFC 3550) of the worst stream, in milliseconds. */
  readonly jitterMs: number
  /** Bit rate of the payload, without headers. */
  readonly bitsPerSecond: number
}

/** The network path between client and server. */
export interface AudioRoute {
  readonly protocol: 'udp' | 'tcp'
  /** Local candidate type; `relay` means a TURN server. */
  readonly local: RTCIceCandidateType
  /** Remote candidate type. */
  readonly remote: RTCIceCandidateType
  /** The server's address, if the browser reports it. */
  readonly address?: string
}

/** Audio quality between two measurements. */
export interface AudioQuality {
  readonly rating: QualityRating
  readonly received: StreamQuality & {
    /** Concealed samples divided by played samples, 0 to 1. Concealed silence is not counted. */
    readonly concealedRatio: number
  }
  /** Present only while a track is being sent. The loss and the jitter are from the server's RTCP reports. */
  readonly sent?: StreamQuality
  /** Round-trip time to the server. */
  readonly roundTripMs?: number
  readonly route?: AudioRoute
}

/** The result of `getStats()`. */
export type StatsMap = Pick<RTCStatsReport, 'forEach'>

/** Statistics of both transports. */
export interface TransportStats {
  /** Statistics of the receive transport, if any. */
  received?: StatsMap | undefined
  /** Statistics of the send transport, if any. */
  sent?: StatsMap | undefined
  /** Whether a track is currently sent. */
  sending: boolean
}

type Counters = Readonly<Record<string, number>>

/** The counters at one point in time, to be compared with the next measurement. */
export interface QualitySample {
  /** Cumulative counters per stream. */
  readonly streams: ReadonlyMap<string, Counters>
  /** Time on the caller's clock, in milliseconds. */
  readonly at: number
}

/**
 * Values above these limits are rated `fair` or `poor`; the worst of the three values determines the rating.
 *
 * Loss: in the E-model (ITU-T G.107, with the G.113 values for a codec with loss concealment), a call without other
 * impairments scores 90 at 1 % loss, the lower bound of "very satisfied" in G.109. At 5 % loss, the score is 77, "some
 * users dissatisfied".
 *
 * Round trip: the mouth-to-ear delay is half of the talker's round trip plus half of the listener's. ITU-T G.114 calls
 * delays of up to 150 ms unnoticeable and sets 400 ms as the upper limit.
 *
 * Jitter: ITU-T Y.1541 allows 50 ms for conversational traffic.
 */
export const limits = {
  fair: { lossRatio: 0.01, roundTripMs: 200, jitterMs: 30 },
  poor: { lossRatio: 0.05, roundTripMs: 400, jitterMs: 50 }
} as const

/** The fields that this file uses from a WebRTC statistics entry. Browsers may omit some fields. */
interface Entry {
  id: string
  type: string
  kind?: string
  ssrc?: number
  packetsReceived?: number
  packetsSent?: number
  packetsLost?: number
  bytesReceived?: number
  bytesSent?: number
  jitter?: number
  concealedSamples?: number
  silentConcealedSamples?: number
  totalSamplesReceived?: number
  roundTripTime?: number
  currentRoundTripTime?: number
  selectedCandidatePairId?: string
  selected?: boolean
  nominated?: boolean
  state?: string
  localCandidateId?: string
  remoteCandidateId?: string
  candidateType?: RTCIceCandidateType
  protocol?: string
  relayProtocol?: string
  address?: string
}

/** A sample without packets, for the first measurement. */
export const firstSample = (at: number): QualitySample => ({ streams: new Map(), at })

/**
 * Measures the quality since an earlier sample.
 *
 * Each stream is compared with its own earlier counters. New streams count from zero and ended streams are ignored,
 * so no difference is negative.
 *
 * @param at current time in milliseconds, from the same clock as `before.at`
 * @returns the quality (undefined while no candidate pair is selected) and the sample to pass to the next call
 */
export function measure (before: QualitySample, stats: TransportStats, at: number): { quality: AudioQuality | undefined, sample: QualitySample } {
  const [received, sent] = [entriesOf(stats.received), entriesOf(stats.sent)]
  const streams = new Map<string, Counters>()
  const since = (entry: Entry, names: readonly (keyof Entry & string)[]) => {
    // Browsers may reuse the id of an ended stream.
    const key = `${entry.type} ${entry.id} ${entry.ssrc}`
    const now = Object.fromEntries(names.map((name) => [name, Number(entry[name] ?? 0)]))
    streams.set(key, now)
    const then = before.streams.get(key) ?? {}
    const restarted = names.some((name) => name !== 'packetsLost' && (now[name] as number) < (then[name] ?? 0))
    // `packetsLost` may decrease when packets arrive late or twice.
    return (name: keyof Entry & string) => Math.max(0, (now[name] ?? 0) - (restarted ? 0 : then[name] ?? 0))
  }
  const seconds = (at - before.at) / 1000
  const heard = heardOf(received, since, seconds)
  const own = stats.sending ? sentOf(sent, since, seconds) : undefined
  const sample = { streams, at }
  const ways = [received, sent].map(wayOf).filter((way) => way !== undefined)
  const [first] = ways
  if (!first) return { quality: undefined, sample }
  const roundTrips = [
    ...ways.map(({ pair }) => pair.currentRoundTripTime),
    ...sent.map(({ type, roundTripTime }) => type === 'remote-inbound-rtp' ? roundTripTime : undefined)
  ].filter((seconds) => seconds !== undefined)
  const measured = {
    received: heard,
    ...(own ? { sent: own } : {}),
    ...(roundTrips.length > 0 ? { roundTripMs: Math.max(...roundTrips) * 1000 } : {}),
    ...(first.route ? { route: first.route } : {})
  }
  return { quality: { rating: ratingOf(measured), ...measured }, sample }
}

type Since = (entry: Entry, names: readonly (keyof Entry & string)[]) => (name: keyof Entry & string) => number

function heardOf (entries: readonly Entry[], since: Since, seconds: number): AudioQuality['received'] {
  const sum = { packets: 0, lost: 0, bytes: 0, samples: 0, concealed: 0, jitter: 0 }
  for (const entry of entries) {
    if (entry.type !== 'inbound-rtp' || (entry.kind ?? 'audio') !== 'audio') continue
    const of = since(entry, ['packetsReceived', 'packetsLost', 'bytesReceived', 'totalSamplesReceived', 'concealedSamples', 'silentConcealedSamples'])
    sum.packets += of('packetsReceived')
    sum.lost += of('packetsLost')
    sum.bytes += of('bytesReceived')
    sum.samples += of('totalSamplesReceived')
    // While a user is muted, the browser conceals silence, which is not a loss.
    sum.concealed += Math.max(0, of('concealedSamples') - of('silentConcealedSamples'))
    // A stream without new packets still reports its last jitter value.
    if (of('packetsReceived') > 0) sum.jitter = Math.max(sum.jitter, entry.jitter ?? 0)
  }
  return {
    packets: sum.packets,
    lossRatio: ratio(sum.lost, sum.lost + sum.packets),
    jitterMs: sum.jitter * 1000,
    concealedRatio: ratio(sum.concealed, sum.samples),
    bitsPerSecond: ratioOf(sum.bytes * 8, seconds)
  }
}

function sentOf (entries: readonly Entry[], since: Since, seconds: number): StreamQuality | undefined {
  const own = entries.filter(({ type, kind = 'audio' }) => type === 'outbound-rtp' && kind === 'audio')
  if (own.length === 0) return
  const sum = { packets: 0, bytes: 0, lost: 0, jitter: 0 }
  for (const entry of own) {
    const of = since(entry, ['packetsSent', 'bytesSent'])
    sum.packets += of('packetsSent')
    sum.bytes += of('bytesSent')
  }
  for (const entry of entries) {
    if (entry.type !== 'remote-inbound-rtp' || (entry.kind ?? 'audio') !== 'audio') continue
    sum.lost += since(entry, ['packetsLost'])('packetsLost')
    sum.jitter = Math.max(sum.jitter, entry.jitter ?? 0)
  }
  return {
    packets: sum.packets,
    lossRatio: ratio(sum.lost, sum.packets),
    jitterMs: sum.jitter * 1000,
    bitsPerSecond: ratioOf(sum.bytes * 8, seconds)
  }
}

/** @returns the selected candidate pair; undefined while there is none */
function wayOf (entries: readonly Entry[]): { pair: Entry, route: AudioRoute | undefined } | undefined {
  const byId = new Map(entries.map((entry) => [entry.id, entry]))
  const chosen = entries.find(({ type, selectedCandidatePairId }) => type === 'transport' && selectedCandidatePairId !== undefined)
  const pairs = entries.filter(({ type }) => type === 'candidate-pair')
  const pair = byId.get(chosen?.selectedCandidatePairId ?? '') ??
    // Firefox has no transport entries.
    pairs.find(({ selected }) => selected === true) ??
    pairs.find(({ nominated, state }) => nominated === true && state === 'succeeded')
  if (!pair) return
  const [local, remote] = [byId.get(pair.localCandidateId ?? ''), byId.get(pair.remoteCandidateId ?? '')]
  if (!local?.candidateType || !remote?.candidateType) return { pair, route: undefined }
  // The connection to a TURN server may use TLS over TCP; relay candidates themselves always use UDP.
  const protocol = (local.relayProtocol ?? local.protocol) === 'udp' ? 'udp' : 'tcp'
  return {
    pair,
    route: {
      protocol,
      local: local.candidateType,
      remote: remote.candidateType,
      ...(remote.address ? { address: remote.address } : {})
    }
  }
}

function ratingOf ({ received, sent, roundTripMs = 0 }: Omit<AudioQuality, 'rating'>): QualityRating {
  const worst = {
    lossRatio: Math.max(received.lossRatio, sent?.lossRatio ?? 0),
    jitterMs: Math.max(received.jitterMs, sent?.jitterMs ?? 0),
    roundTripMs
  }
  const over = (limit: typeof worst) => worst.lossRatio > limit.lossRatio || worst.jitterMs > limit.jitterMs || worst.roundTripMs > limit.roundTripMs
  if (over(limits.poor)) return 'poor'
  return over(limits.fair) ? 'fair' : 'good'
}

function entriesOf (stats: StatsMap | undefined): Entry[] {
  const entries: Entry[] = []
  stats?.forEach((entry: Entry) => entries.push(entry))
  return entries
}

const ratioOf = (part: number, whole: number) => whole > 0 ? part / whole : 0

/** @returns the ratio, capped at 1 because the two counters may have been read at different times */
const ratio = (part: number, whole: number) => Math.min(1, ratioOf(part, whole))
