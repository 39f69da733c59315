import t from 'tap'
import { compileOpus, Opus, OpusError, samplesOf } from '../../../../plugins/media/mix/opus.ts'
import { readRtp, ssrcOf, writeRtp } from '../../../../plugins/media/mix/rtp.ts'
import { generator, rtp, speechPackets, tonePackets } from '../../../support/mix.ts'

const opus = new Opus(await compileOpus())
const energy = (samples: Int16Array) => samples.reduce((sum, sample) => sum + sample ** 2, 0) / samples.length

t.test('decodes, conceals and resets', async (t) => {
  const decoder = opus.createDecoder(1)
  const packets = tonePackets(500, 0.3)
  let level = 0
  for (const packet of packets.slice(0, 10)) level = energy(decoder.decode(packet))
  t.ok(Math.abs(level - (0.3 * 32_767) ** 2 / 2) < level * 0.1)
  t.equal(decoder.conceal(960).length, 960)
  t.ok(energy(decoder.conceal(480)) > level / 10, 'the tone continues')
  decoder.reset()
  t.equal(energy(decoder.conceal(960)), 0)
  decoder.free()

  const stereo = opus.createDecoder(2)
  t.equal(stereo.decode(packets[0] as Uint8Array).length, 1920)
  stereo.free()
})

t.test('recovers a lost packet from the next one', async (t) => {
  const packets = speechPackets(400)
  const original = opus.createDecoder(1)
  const lossy = opus.createDecoder(1)
  let [errorOfRecovered, errorOfConcealed, count] = [0, 0, 0]
  const difference = (a: Int16Array, b: Int16Array) => Math.sqrt(energy(a.map((sample, i) => sample - (b[i] ?? 0))))
  for (let i = 0; i < packets.length - 1; i++) {
    const payload = packets[i]?.payload as Uint8Array
    const expected = original.decode(payload).slice()
    // Every tenth packet is lost.
    if (i % 10 !== 9 || energy(expected) < 1e5) {
      lossy.decode(payload)
      continue
    }
    const concealing = opus.createDecoder(1)
    for (const earlier of packets.slice(i - 9, i)) concealing.decode(earlier.payload)
    errorOfConcealed += difference(concealing.conceal(960).slice(), expected)
    concealing.free()
    errorOfRecovered += difference(lossy.recover(packets[i + 1]?.payload as Uint8Array, 960).slice(), expected)
    count++
  }
  t.ok(count > 5)
  t.ok(errorOfRecovered < errorOfConcealed, `${errorOfRecovered} < ${errorOfConcealed}`)
  for (const decoder of [original, lossy]) decoder.free()
})

t.test('determines the duration of packets', async (t) => {
  const durations: [number[], number][] = [
    [[], 0], [[0xf8], 960], [[0xf9, 1], 1920], [[0xe0], 120], [[0x18], 2880], [[0x60], 480],
    [[0xfb, 3], 2880], [[0xfb, 6], 5760], [[0xfb, 7], 0], [[0xfb], 0], [[0xfb, 0], 0]
  ]
  for (const [bytes, samples] of durations) t.equal(samplesOf(Uint8Array.from(bytes)), samples, bytes.join())
  t.equal(samplesOf(new Uint8Array(1501).fill(0xf8)), 0, 'larger than a network packet')
})

t.test('random packets cause no error other than OpusError', async (t) => {
  const random = generator(3)
  const decoder = opus.createDecoder(2)
  let invalid = 0
  for (let i = 0; i < 3000; i++) {
    const packet = Uint8Array.from({ length: Math.floor(random() * 300) + 1 }, () => random() * 256)
    try {
      t.ok(decoder.decode(packet).length <= 11_520)
    } catch (error) {
      if (!(error instanceof OpusError)) throw error
      invalid++
    }
  }
  t.ok(invalid > 100)
  decoder.free()
})

t.test('reads RTP with and without levels, and ignores other data', async (t) => {
  const payload = Buffer.from([1, 2, 3])
  t.match(readRtp(writeRtp(7, 100, 65_537, 2 ** 32 + 5, payload), 1), { ssrc: 7, sequenceNumber: 1, timestamp: 5, level: undefined, payload })
  t.match(readRtp(rtp(7, 3, payload, 42), 1), { sequenceNumber: 3, level: -42, payload })
  t.match(readRtp(rtp(7, 3, payload, 42), 2), { level: undefined, payload }, 'another extension')
  const padded = Buffer.concat([rtp(7, 3, payload), Buffer.from([0, 2])])
  padded[0] = 0xa0
  t.same(readRtp(padded, 1)?.payload, payload)
  const rtcp = writeRtp(7, 72, 1, 1, payload)
  rtcp[1] = 200
  for (const bytes of [rtcp, Buffer.alloc(3), Buffer.alloc(20)]) t.equal(ssrcOf(bytes), undefined)
  const random = generator(8)
  for (let i = 0; i < 3000; i++) {
    const bytes = rtp(7, i, payload, 30).map((byte) => random() < 0.2 ? random() * 256 : byte)
    const read = readRtp(Buffer.from(bytes.subarray(0, Math.floor(random() * 24))), 1)
    if (read) t.ok(read.payload.length <= 12 && (read.level === undefined || read.level <= 0))
  }
})
