/** How well audio gets through, as a person would say it. */
export type QualityRating = 'good' | 'fair' | 'poor'

/** What came of something that was sent in packets, here or there. */
export interface StreamQuality {
  /** How many there were. */
  readonly packets: number
  /** Of those that were sent, the part that did not arrive: 0 to 1. */
  readonly lossRatio: number
  /** How unevenly packets arrive (RFC 3550), in milliseconds; that of the worst stream. */
  readonly jitterMs: number
  /** Of audio, without the headers around it. */
  readonly bitsPerSecond: number
}

/** The way audio takes between here and the server. */
export interface AudioRoute {
  readonly protocol: 'udp' | 'tcp'
  /** What kind of address is used here: `relay` means over a TURN server. */
  readonly local: RTCIceCandidateType
  /** The same of the server. */
  readonly remote: RTCIceCandidateType
  /** The server's address, where the browser tells. */
  readonly address?: string
}

/** How well audio got through between two points in time. */
export interface AudioQuality {
  readonly rating: QualityRating
  readonly received: StreamQuality & {
    /** Of what was played, the part that was made up because its packets were missing; silence is not counted: 0 to 1. */
    readonly concealedRatio: number
  }
  /** As the server reports it; only while something is sent. */
  readonly sent?: StreamQuality
  /** To the server and back. */
  readonly roundTripMs?: number
  readonly route?: AudioRoute
}

/** Statistics of a connection by their ids, as `getStats()` gives them. */
export type StatsMap = Pick<RTCStatsReport, 'forEach'>

/** What is measured from: the statistics of both ways. */
export interface LinkStats {
  /** Of the connection that receives, where there is one. */
  received?: StatsMap | undefined
  /** Of the one that sends, where there is one. */
  sent?: StatsMap | undefined
  /** Whether anything is sent now. */
  sending: boolean
}

type Counters = Readonly<Record<string, number>>

/** What there was at a point in time, to be compared with later. */
export interface QualitySample {
  /** By stream: what it has counted since it began. */
  readonly streams: ReadonlyMap<string, Counters>
  /** Milliseconds, of the clock that the caller uses. */
  readonly at: number
}

/**
 * What is more than this is `fair`, or `poor`; the worst of the three counts.
 *
 * Loss: by the E-model (ITU-T G.107, with the values that G.113 gives for a codec that conceals
 * losses) a call without other faults has 90 points at 1 %, where G.109 ends "very satisfied", and
 * 77 at 5 %, where it says "some users dissatisfied".
 *
 * Round trip: from a mouth to an ear is half of the talker's and half of the listener's, so where
 * both are alike one in all. By G.114 up to 150 ms are not noticed, and 400 ms must not be exceeded.
 *
 * Jitter: Y.1541 allows 50 ms to networks that carry conversations.
 */
export const limits = {
  fair: { lossRatio: 0.01, roundTripMs: 200, jitterMs: 30 },
  poor: { lossRatio: 0.05, roundTripMs: 400, jitterMs: 50 }
} as const

/** One entry of a browser's statistics, with what is read of it. What a browser does not tell is not there. */
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

/** Nothing has gone over the link yet. */
export const firstSample = (at: number): QualitySample => ({ streams: new Map(), at })

/**
 * Measures what has happened since an earlier point in time.
 *
 * Streams are compared one by one: one that is new counts from its beginning,
 * one that is gone does not count any more, so nothing is ever below 0.
 *
 * @param at now, by the clock of `before.at`
 * @returns the quality, undefined while there is no way to the server yet; and what the next call compares with
 */
export function measure (before: QualitySample, stats: LinkStats, at: number): { quality: AudioQuality | undefined, sample: QualitySample } {
  const [received, sent] = [entriesOf(stats.received), entriesOf(stats.sent)]
  const streams = new Map<string, Counters>()
  const since = (entry: Entry, names: readonly (keyof Entry & string)[]) => {
    // A browser may give a later stream the id of an earlier one.
    const key = `${entry.type} ${entry.id} ${entry.ssrc}`
    const now = Object.fromEntries(names.map((name) => [name, Number(entry[name] ?? 0)]))
    streams.set(key, now)
    const then = before.streams.get(key) ?? {}
    const restarted = names.some((name) => name !== 'packetsLost' && (now[name] as number) < (then[name] ?? 0))
    // Of losses some are taken back, when packets come late or twice.
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
    // Nothing is missing of somebody who has muted: there is silence, and that is right.
    sum.concealed += Math.max(0, of('concealedSamples') - of('silentConcealedSamples'))
    // What is said of a stream stays when nothing comes any more.
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

/** The pair of addresses that is used; undefined while none is. */
function wayOf (entries: readonly Entry[]): { pair: Entry, route: AudioRoute | undefined } | undefined {
  const byId = new Map(entries.map((entry) => [entry.id, entry]))
  const chosen = entries.find(({ type, selectedCandidatePairId }) => type === 'transport' && selectedCandidatePairId !== undefined)
  const pairs = entries.filter(({ type }) => type === 'candidate-pair')
  const pair = byId.get(chosen?.selectedCandidatePairId ?? '') ??
    // Firefox knows nothing of transports.
    pairs.find(({ selected }) => selected === true) ??
    pairs.find(({ nominated, state }) => nominated === true && state === 'succeeded')
  if (!pair) return
  const [local, remote] = [byId.get(pair.localCandidateId ?? ''), byId.get(pair.remoteCandidateId ?? '')]
  if (!local?.candidateType || !remote?.candidateType) return { pair, route: undefined }
  // To a relay it may be TLS, which is TCP; from there on it is always UDP.
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

/** @returns 0 to 1: what is told of a stream may not all be of the same moment */
const ratio = (part: number, whole: number) => Math.min(1, ratioOf(part, whole))
