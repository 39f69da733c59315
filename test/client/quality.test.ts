import t from 'tap'
import { firstSample, measure } from '../../client/quality.ts'
import type { TransportStats } from '../../client/quality.ts'

type Entry = { id: string, type: string } & Record<string, unknown>

const statsOf = (...entries: Entry[]) => new Map(entries.map((entry) => [entry.id, entry]))

/** Returns statistics as Chromium reports them: the selected candidate pair, another pair, and their candidates. */
const way = ({ roundTrip = 0.04, local = {}, remote = {} }: { roundTrip?: number | undefined, local?: object, remote?: object } = {}): Entry[] => [
  { id: 'T01', type: 'transport', selectedCandidatePairId: 'CP2', dtlsState: 'connected' },
  { id: 'CP1', type: 'candidate-pair', state: 'succeeded', nominated: false, currentRoundTripTime: 9, localCandidateId: 'I1', remoteCandidateId: 'I2' },
  { id: 'CP2', type: 'candidate-pair', state: 'succeeded', nominated: true, currentRoundTripTime: roundTrip, localCandidateId: 'I1', remoteCandidateId: 'I2' },
  { id: 'I1', type: 'local-candidate', candidateType: 'prflx', protocol: 'udp', address: '', ...local },
  { id: 'I2', type: 'remote-candidate', candidateType: 'host', protocol: 'udp', address: '203.0.113.7', ...remote }
]

const inbound = (ssrc: number, counted: object = {}): Entry => ({
  id: `IT01A${ssrc}`,
  type: 'inbound-rtp',
  kind: 'audio',
  ssrc,
  packetsReceived: 500,
  packetsLost: 0,
  bytesReceived: 40_000,
  jitter: 0.004,
  totalSamplesReceived: 480_000,
  concealedSamples: 0,
  silentConcealedSamples: 0,
  ...counted
})
const outbound = (counted: object = {}): Entry => ({ id: 'OT01A7', type: 'outbound-rtp', kind: 'audio', ssrc: 7, packetsSent: 500, bytesSent: 40_000, ...counted })
const reported = (counted: object = {}): Entry => ({ id: 'RIA7', type: 'remote-inbound-rtp', kind: 'audio', ssrc: 7, localId: 'OT01A7', packetsLost: 0, jitter: 0.002, roundTripTime: 0.06, ...counted })

/** Measures the connection quality from samples that are ten seconds apart. */
function measured (...times: Partial<TransportStats>[]) {
  let sample = firstSample(0)
  return times.map((stats, i) => {
    const result = measure(sample, { sending: false, ...stats }, (i + 1) * 10_000)
    sample = result.sample
    return result.quality
  })
}

t.test('returns undefined before a candidate pair is selected', async (t) => {
  t.same(measured({}, { received: statsOf() }, { received: statsOf({ id: 'T01', type: 'transport', dtlsState: 'new' }) }), [undefined, undefined, undefined])
})

t.test('measures only what arrived since the previous sample', async (t) => {
  const [first, second, third] = measured(
    { received: statsOf(...way(), inbound(1)) },
    { received: statsOf(...way(), inbound(1, { packetsReceived: 990, packetsLost: 10, bytesReceived: 80_000, jitter: 0.012, totalSamplesReceived: 960_000, concealedSamples: 9600 })) },
    { received: statsOf(...way(), inbound(1, { packetsReceived: 990, packetsLost: 10, bytesReceived: 80_000, jitter: 0.012, totalSamplesReceived: 960_000, concealedSamples: 9600 })) }
  )
  t.strictSame(first, {
    rating: 'good',
    received: { packets: 500, lossRatio: 0, jitterMs: 4, concealedRatio: 0, bitsPerSecond: 32_000 },
    roundTripMs: 40,
    route: { protocol: 'udp', local: 'prflx', remote: 'host', address: '203.0.113.7' }
  })
  t.strictSame(second?.received, { packets: 490, lossRatio: 0.02, jitterMs: 12, concealedRatio: 0.02, bitsPerSecond: 32_000 })
  t.equal(second?.rating, 'fair')
  t.strictSame(third?.received, { packets: 0, lossRatio: 0, jitterMs: 0, concealedRatio: 0, bitsPerSecond: 0 }, 'without new packets, old values are not repeated')
  t.equal(third?.rating, 'good')
})

t.test('never returns negative values when streams start and end', async (t) => {
  const [, second, third] = measured(
    { received: statsOf(...way(), inbound(1, { packetsReceived: 9000, packetsLost: 400 }), inbound(2, { packetsReceived: 8000 })) },
    { received: statsOf(...way(), inbound(2, { packetsReceived: 8100 }), inbound(3, { packetsReceived: 50, packetsLost: 50 })) },
    { received: statsOf(...way()) }
  )
  t.match(second?.received, { packets: 150, lossRatio: 0.25 }, 'a new stream counts from its first packet')
  t.match(third?.received, { packets: 0, lossRatio: 0, bitsPerSecond: 0 })
})

t.test('detects a restarted stream, and a new stream with an old id', async (t) => {
  const [, second, third] = measured(
    { received: statsOf(...way(), { ...inbound(1, { packetsReceived: 9000 }), id: 'inbound_rtp_audio_1' }) },
    { received: statsOf(...way(), { ...inbound(2, { packetsReceived: 9100, packetsLost: 3 }), id: 'inbound_rtp_audio_1' }) },
    { received: statsOf(...way(), { ...inbound(2, { packetsReceived: 40, packetsLost: 10 }), id: 'inbound_rtp_audio_1' }) }
  )
  t.equal(second?.received.packets, 9100)
  t.match(third?.received, { packets: 40, lossRatio: 0.2 })
})

t.test('reports no loss if the number of lost packets decreases', async (t) => {
  const [, second] = measured(
    { received: statsOf(...way(), inbound(1, { packetsLost: 10 })) },
    { received: statsOf(...way(), inbound(1, { packetsReceived: 1000, packetsLost: -2 })) }
  )
  t.match(second?.received, { packets: 500, lossRatio: 0 })
})

t.test('does not count the silence of a muted user as concealed', async (t) => {
  const [, second] = measured(
    { received: statsOf(...way(), inbound(1)) },
    { received: statsOf(...way(), inbound(1, { totalSamplesReceived: 960_000, concealedSamples: 480_000, silentConcealedSamples: 475_200 })) }
  )
  t.match(second, { rating: 'good', received: { packets: 0, concealedRatio: 0.01, jitterMs: 0 } })
})

t.test('sums the packets of several streams, and reports the worst jitter', async (t) => {
  const [first] = measured({ received: statsOf(...way(), inbound(1, { packetsLost: 20, jitter: 0.001 }), inbound(2, { jitter: 0.035 }), { ...inbound(3), kind: 'video' }) })
  t.match(first?.received, { packets: 1000, jitterMs: 35 })
  t.equal(first?.received.lossRatio, 20 / 1020)
  t.equal(first?.rating, 'fair')
})

t.test('measures sent audio from the server\'s reports', async (t) => {
  const [first, second, third] = measured(
    { received: statsOf(...way()), sent: statsOf(...way({ roundTrip: 0.05 }), outbound(), reported()), sending: true },
    { received: statsOf(...way()), sent: statsOf(...way(), outbound({ packetsSent: 1000, bytesSent: 90_000 }), reported({ packetsLost: 50, jitter: 0.055 })), sending: true },
    { received: statsOf(...way()), sent: statsOf(...way(), outbound({ packetsSent: 1000, bytesSent: 90_000 })), sending: false }
  )
  t.strictSame(first?.sent, { packets: 500, lossRatio: 0, jitterMs: 2, bitsPerSecond: 32_000 })
  t.equal(first?.roundTripMs, 60, 'reports the longest known round trip')
  t.strictSame(second?.sent, { packets: 500, lossRatio: 0.1, jitterMs: 55, bitsPerSecond: 40_000 })
  t.equal(second?.rating, 'poor', 'the rating includes how other users receive the audio')
  t.notOk('sent' in (third ?? {}), '`sent` is set only while audio is sent')
  t.equal(third?.rating, 'good')
  const [unreported] = measured({ sent: statsOf(...way(), outbound()), sending: true })
  t.match(unreported, { rating: 'good', sent: { packets: 500, lossRatio: 0, jitterMs: 0 }, received: { packets: 0 } }, 'assumes no loss before the first report')
})

t.test('reports the network route', async (t) => {
  const routeOf = (...entries: Entry[]) => measured({ received: statsOf(...entries) })[0]?.route
  t.match(routeOf(...way({ local: { protocol: 'tcp' } })), { protocol: 'tcp' })
  const relay = { candidateType: 'relay', protocol: 'udp' }
  t.match(routeOf(...way({ local: { ...relay, relayProtocol: 'udp' } })), { protocol: 'udp', local: 'relay', remote: 'host' })
  for (const relayProtocol of ['tcp', 'tls']) t.match(routeOf(...way({ local: { ...relay, relayProtocol } })), { protocol: 'tcp', local: 'relay' }, relayProtocol)
  t.notOk('address' in (routeOf(...way({ remote: { address: undefined } })) ?? {}), 'some browsers hide addresses')
  const [, ...firefox] = way()
  t.match(routeOf(...firefox), { remote: 'host' }, 'without a transport, the nominated pair is used')
  t.match(measured({ sent: statsOf(...way({ remote: { address: '203.0.113.9' } })) })[0], { route: { address: '203.0.113.9' } }, 'returns the sending route if no audio is received')
  const [unknown] = measured({ received: statsOf(...way({ roundTrip: undefined }).map((entry) => ({ ...entry, currentRoundTripTime: undefined })).filter(({ id }) => id !== 'I2')) })
  t.same(Object.keys(unknown ?? {}), ['rating', 'received'], 'omits values that the browser does not report')
})

t.test('the worst value determines the rating', async (t) => {
  const rated = (lost: number, jitter: number, roundTrip: number) =>
    measured({ received: statsOf(...way({ roundTrip }), inbound(1, { packetsReceived: 1000 - lost, packetsLost: lost, jitter })) })[0]?.rating
  t.equal(rated(10, 0.03, 0.2), 'good', 'values at the limits are still good')
  for (const fair of [[11, 0, 0], [0, 0.031, 0], [0, 0, 0.201], [50, 0.05, 0.4]] as [number, number, number][]) t.equal(rated(...fair), 'fair', String(fair))
  for (const poor of [[51, 0, 0], [0, 0.051, 0], [0, 0, 0.401]] as [number, number, number][]) t.equal(rated(...poor), 'poor', String(poor))
})

t.test('handles two measurements with the same timestamp', async (t) => {
  const { sample } = measure(firstSample(0), { received: statsOf(...way(), inbound(1)), sending: false }, 1000)
  const { quality } = measure(sample, { received: statsOf(...way(), inbound(1)), sending: false }, 1000)
  t.match(quality?.received, { packets: 0, bitsPerSecond: 0 })
})
