/** A rating of the audio quality, to show to users. */
export type QualityRating = 'good' | 'fair' | 'poor'

/** Audio quality in one direction: sent or received. */
export interface StreamQuality {
  readonly packets: number
  /** Number of lost packets divided by the number of sent packets, 0 to 1. */
  readonly lossRatio: number
  /** Interarrival jitter (RFC 3550) of the worst stream, in milliseconds. */
  readonly jitterMs: number
  /** Bit rate of the audio payload, without packet headers. */
  readonly bitsPerSecond: number
}

/** The network path between client and server. */
export interface AudioRoute {
  readonly protocol: 'udp' | 'tcp'
  /** Type of the local ICE candidate; `relay` means that a TURN server relays the audio. */
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
    /**
     * Number of concealed samples divided by the number of played samples, 0 to 1. Concealed silence is not counted.
     */
    readonly concealedRatio: number
  }
  /** Undefined while no track is being sent. The server reports the loss and the jitter in RTCP packets. */
  readonly sent?: StreamQuality
  /** Round-trip time to the server. */
  readonly roundTripMs?: number
  readonly route?: AudioRoute
}

/** The result of `getStats()`. */
export type StatsMap = Pick<RTCStatsReport, 'forEach'>

/** Statistics of both transports. */
export interface TransportStats {
  /** Statistics of the receive transport, if there is one. */
  received?: StatsMap | undefined
  /** Statistics of the send transport, if there is one. */
  sent?: StatsMap | undefined
  /** True if the client is sending a track. */
  sending: boolean
}

type Counters = Readonly<Record<string, number>>

/** The counters at one point in time. The next measurement compares its counters with these. */
export interface QualitySample {
  /** Cumulative counters per stream. */
  readonly streams: ReadonlyMap<string, Counters>
  /** When the counters were read, in milliseconds, on the caller's clock. */
  readonly at: number
}

/**
 * If a value exceeds one of these limits, the rating is `fair` or `poor`. The worst of the three values determines the
 * rating.
 *
 * Loss: the limits come from the E-model (ITU-T G.107), with the G.113 values for a codec with loss concealment and
 * without other impairments. At 1 % loss, the score is 90, the lower bound of "very satisfied" in G.109. At 5 % loss,
 * the score is 77, "some users dissatisfied".
 *
 * Round-trip time: the mouth-to-ear delay includes half of the talker's round-trip time and half of the listener's
 * round-trip time. According to ITU-T G.114, users do not notice a delay of up to 150 ms, and 400 ms is the upper
 * limit.
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

/** The first measurement compares its counters with this sample, which contains none. */
export const firstSample = (at: number): QualitySample => ({ streams: new Map(), at })

/**
 * Measures the quality since an earlier sample.
 *
 * The counters of each stream are compared with the earlier counters of the same stream. A new stream starts at zero,
 * and a stream that has ended is ignored, so no difference is negative.
 *
 * @param at current time in milliseconds, from the same clock as `before.at`
 * @returns `quality`: undefined while no candidate pair is selected; `sample`: the value of `before` for the next call
 */
export function measure (before: QualitySample, stats: TransportStats, at: number): { quality: AudioQuality | undefined, sample: QualitySample } {
  const [received, sent] = [entriesOf(stats.received), entriesOf(stats.sent)]
  const streams = new Map<string, Counters>()
  const since = (entry: Entry, names: readonly (keyof Entry & string)[]) => {
    // A browser may reuse the id of a stream that has ended.
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
    // Do not count concealed silence: it is not a loss, because browsers also conceal silence while a user is muted.
    sum.concealed += Math.max(0, of('concealedSamples') - of('silentConcealedSamples'))
    // Ignore a stream without new packets, because the browser still reports the stream's last jitter value.
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
  // If a TURN server relays the audio, report the protocol between the client and the TURN server: the candidate's own
  // protocol is always UDP.
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

/** @returns the ratio; at most 1, even if the browser read the two counters at different times */
const ratio = (part: number, whole: number) => Math.min(1, ratioOf(part, whole))
