import t from 'tap'
import { playoutBufferMs, StreamReception } from '../../bench/load/reception.ts'
import { createRtpWriter, readRtpHeader, samplesPerPacket, writeReceiverReport } from '../../bench/load/rtp.ts'

/** Adds packets to a new stream. Packet n is sent at n × 20 ms and arrives `delayMs` later. */
function receive (packets: Iterable<readonly [n: number, delayMs: number]>, firstNumber = 65_000): StreamReception {
  const stream = new StreamReception(1)
  for (const [n, delayMs] of packets) {
    stream.add({ sequenceNumber: (firstNumber + n) & 0xffff, timestamp: (0xfffff000 + n * samplesPerPacket) >>> 0 }, 1000 + n * 20 + delayMs)
  }
  return stream
}

const numbers = (count: number) => Array.from({ length: count }, (_, n) => n)

t.test('counts a complete stream, even if its sequence numbers wrap around', async (t) => {
  const stream = receive(numbers(2000).map((n) => [n, 5] as const))
  t.same(stream.counts, { expected: 2000, received: 2000, late: 0 })
  t.equal(stream.longestGapMs(1000 + 1999 * 20 + 5), 20)
  t.equal(stream.longestGapMs(1000 + 1999 * 20 + 505), 500, 'the time since the last packet counts as a gap')
})

t.test('counts lost packets, but not reordered or repeated ones', async (t) => {
  const lossy = receive(numbers(1000).filter((n) => n % 10 !== 5).map((n) => [n, 0] as const))
  t.same(lossy.counts, { expected: 1000, received: 900, late: 0 })
  const swapped = receive(numbers(1000).map((n) => [n ^ 1, 0] as const))
  t.same(swapped.counts, { expected: 999, received: 999, late: 0 }, 'a packet older than the first received one is ignored')
  const repeated = receive(numbers(1000).flatMap((n) => [[n, 0], [n, 1]] as const))
  t.same(repeated.counts, { expected: 1000, received: 1000, late: 0 })
})

t.test('counts packets that miss their playout time', async (t) => {
  const late = receive(numbers(1000).map((n) => [n, n % 100 === 50 ? playoutBufferMs + 10 : 8] as const))
  t.same(late.counts, { expected: 1000, received: 1000, late: 10 })
  const jitter = receive(numbers(1000).map((n) => [n, n % 2 * (playoutBufferMs - 10)] as const))
  t.equal(jitter.counts.late, 0)
  // The network delay grows by 500 ms; the playout time must adapt within 20 s.
  const moved = receive(numbers(3000).map((n) => [n, n < 500 ? 0 : 500] as const))
  t.ok(moved.counts.late > 400 && moved.counts.late <= 1000, `${moved.counts.late} late`)
})

t.test('reports the loss to the sender', async (t) => {
  const stream = receive(numbers(100).filter((n) => n % 4 !== 1).map((n) => [n, 0] as const), 100)
  const block = stream.report()
  t.same(block, { ssrc: 1, fractionLost: 0.25, lost: 25, highestSequenceNumber: 199 })
  t.equal(stream.report().fractionLost, 0, 'only the loss since the previous report')
  const packet = writeReceiverReport(7, [block])
  t.equal(packet.toString('hex'), ['81c90007', '00000007', '00000001', '40000019', '000000c7', '00000000', '00000000', '00000000'].join(''))
})

t.test('writes RTP packets with an audio level', async (t) => {
  const write = createRtpWriter({ ssrc: 9, payloadType: 100, levelExtensionId: 1 })
  const [first, second] = [write(Buffer.from('abc'), 30), write(Buffer.from('def'), 127)]
  t.match([first[0], first[1], first.toString('hex', 12, 20), first.toString('latin1', 20)], [0x90, 100, 'bede0001101e0000', 'abc'])
  const [one, two] = [readRtpHeader(first), readRtpHeader(second)]
  t.equal(one?.ssrc, 9)
  t.equal(two?.sequenceNumber, (one?.sequenceNumber ?? 0) + 1)
  t.equal(two?.timestamp, (one?.timestamp ?? 0) + samplesPerPacket)
  t.equal(readRtpHeader(writeReceiverReport(1, [])), undefined, 'RTCP')
})
