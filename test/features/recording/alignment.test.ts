import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { complete } from '../../../features/recording/repair.ts'
import { ThreadRecording } from '../../../features/recording/thread-recording.ts'
import type { MixInput } from '../../../features/recording/thread-recording.ts'
import { generator, tonePackets } from '../../support/mix.ts'
import { beepsOf, decodeFile, decodePackets } from '../../support/recordings.ts'

// Tests the files that the recorder thread writes for packets with simulated arrival times. alignment.long.ts tests the
// whole server.

const tone = tonePackets(1000, 0.3)
const silence = Uint8Array.of(0xf8, 0xff, 0xfe)
const seconds = 14
/** One beep of 200 ms per second. */
const isBeep = (i: number) => i % 50 >= 20 && i % 50 < 30
/**
 * Times at which the beeps become loud, in milliseconds. If a tone begins suddenly, a decoder needs a few packets to
 * reach the tone's level.
 */
const expected = beepsOf(decodePackets(Array.from({ length: seconds * 50 }, (_, i) => isBeep(i) ? tone[i % tone.length] as Uint8Array : silence)))

interface Sent { i: number, arrival: number, rtpTimestamp: number, producerId: string, payload?: Uint8Array }

const random = generator(3)
/** The packets of each voice. `arrival` is in milliseconds. */
const networks: Record<string, (i: number) => Sent[]> = {
  perfect: (i) => [{ i, arrival: i * 20, rtpTimestamp: i * 960, producerId: 'a' }],
  jitter: (i) => [{ i, arrival: i * 20 + random() * 150, rtpTimestamp: i * 960, producerId: 'b' }],
  loss: (i) => i % 7 === 3 && !isBeep(i) ? [] : [{ i, arrival: i * 20, rtpTimestamp: i * 960, producerId: 'c' }],
  // The timestamps wrap around (2³²) after 4 s.
  overflow: (i) => [{ i, arrival: i * 20, rtpTimestamp: (2 ** 32 - 200 * 960 + i * 960) % 2 ** 32, producerId: 'd' }],
  // The sender's clock is 0.1 % too fast.
  drift: (i) => [{ i, arrival: i * 20, rtpTimestamp: Math.round(i * 960 * 1.001), producerId: 'e' }],
  // Packets are sent only during beeps, as with discontinuous transmission.
  dtx: (i) => isBeep(i) ? [{ i, arrival: i * 20, rtpTimestamp: i * 960, producerId: 'f' }] : [],
  // The user reconnects after 10 s, with different timestamps.
  again: (i) => i >= 500 && i < 560 ? [] : [{ i, arrival: i * 20, rtpTimestamp: i < 500 ? i * 960 : 77_777_777 + i * 960, producerId: i < 500 ? 'g' : 'h' }],
  // The sender restarts its timestamps.
  jump: (i) => [{ i, arrival: i * 20, rtpTimestamp: i < 510 ? i * 960 : 5_000_000 + i * 960, producerId: 'i' }],
  // Some packets arrive twice.
  twice: (i) => [i, ...(i % 3 === 0 ? [i] : [])].map((i) => ({ i, arrival: i * 20, rtpTimestamp: i * 960, producerId: 'j' })),
  // No packet arrives for a second, and then the delayed packets all arrive at once.
  stall: (i) => [{ i, arrival: i >= 400 && i < 450 ? 9000 : i * 20, rtpTimestamp: i * 960, producerId: 'k' }],
  invalid: (i) => [{ i, arrival: i * 20, rtpTimestamp: i * 960, producerId: 'l' }, { i, arrival: i * 20, rtpTimestamp: i * 960 + 480, producerId: 'l', payload: Uint8Array.of(3, 63, 1) }, { i, arrival: i * 20, rtpTimestamp: i * 960 + 480, producerId: 'l', payload: new Uint8Array() }]
}

t.test('each voice is recorded without gaps and at the right time', async (t) => {
  const folder = t.testdir()
  const recording = new ThreadRecording({ folder, tracks: true, minFreeBytes: 0 })
  const inputs: { at: number, input: MixInput }[] = []
  for (let i = 0; i < seconds * 50; i++) {
    inputs.push({ at: i * 20 + 0.001, input: { kind: 'packet', timestamp: i * 960, payload: silence } })
    for (const [userId, packetsOf] of Object.entries(networks)) {
      for (const { arrival, rtpTimestamp, producerId, payload = isBeep(i) ? tone[i % tone.length] as Uint8Array : silence } of packetsOf(i)) {
        inputs.push({ at: arrival, input: { kind: 'voice', producerId, userId, source: 'voice', timestamp: Math.round(arrival * 48), sequenceNumber: i, rtpTimestamp, payload } })
      }
    }
  }
  inputs.sort((a, b) => a.at - b.at)
  let written = 0
  for (const { at, input } of inputs) {
    recording.add(input)
    if (at - written > 100) {
      recording.write()
      written = at
    }
  }
  recording.close(false)
  const { files } = recording
  t.equal(files.length, 1 + Object.keys(networks).length, 'one file per user')
  for (const { name, userId, kind } of files) {
    const { seconds: length } = await complete(join(folder, name))
    const file = await decodeFile(readFileSync(join(folder, name)))
    t.equal(file.gaps, 0, `${name} has no gaps`)
    t.ok(Math.abs(file.seconds - length) < 0.001)
    t.ok(Math.abs(length - seconds) < 0.3, `${name}: ${length} s`)
    if (kind === 'mix') continue
    const beeps = beepsOf(file.samples)
    const wanted = userId === 'again' ? expected.filter((at) => at < 10_000 || at > 11_200) : expected
    const off = wanted.map((at) => Math.min(...beeps.map((beep) => Math.abs(beep - at))))
    t.ok(Math.max(...off) <= 20, `${String(userId)}: at most ${Math.max(...off)} ms`)
  }
})

t.test('repairs a file that is cut off at any byte', async (t) => {
  const folder = t.testdir()
  const recording = new ThreadRecording({ folder, tracks: false, minFreeBytes: 0 })
  for (let i = 0; i < 250; i++) recording.add({ kind: 'packet', timestamp: i * 960, payload: tone[i % tone.length] as Uint8Array })
  recording.close(false)
  const path = join(folder, 'mix.mp4')
  const whole = readFileSync(path)
  for (let bytes = whole.length; bytes > 0; bytes -= 4001) {
    writeFileSync(path, whole.subarray(0, bytes))
    const extent = await complete(path)
    const expected = 5 * bytes / whole.length
    t.ok(extent.seconds > expected - 0.7 && extent.seconds <= 5, `${bytes} bytes: ${extent.seconds} s`)
    t.strictSame(await complete(path), extent, 'repairing again changes nothing')
    if (extent.bytes > 0) t.match(await decodeFile(readFileSync(path)), { gaps: 0, seconds: extent.seconds })
  }
  writeFileSync(path, whole.subarray(0, whole.length / 2))
  t.ok(Math.abs((await complete(path, 200)).seconds - 200) < 0.0025, 'silence is appended')
  t.match(await decodeFile(readFileSync(path)), { gaps: 0 })
  for (const content of ['', 'no MP4', Buffer.alloc(5000), Buffer.alloc(5000, 255)]) {
    writeFileSync(path, content)
    t.strictSame(await complete(path), { bytes: 0, seconds: 0 })
  }
})
