import t from 'tap'
import { JitterBuffer } from '../../../../plugins/media/mix/jitter-buffer.ts'
import type { Playable } from '../../../../plugins/media/mix/jitter-buffer.ts'

/** A 20 ms packet that contains its number. */
const packet = (n: number) => Uint8Array.of(0xf8, n & 0xff, 1, 2, 3)
/** 20 ms of silence before a pause (discontinuous transmission). */
const dtx = Uint8Array.of(0xf8)

const shown = (playable: Playable | undefined) =>
  playable === undefined ? '-' : playable.kind === 'packet' ? `${playable.packet.payload[1] ?? 'dtx'}${playable.skip ? '!' : ''}` : playable.kind === 'lost' ? (playable.next ? 'fec' : 'plc') : 'wait'

/**
 * Plays packets that arrive at given times, one tick per 20 ms.
 *
 * @param arrivals packet numbers and their arrival times in milliseconds
 * @returns the audio played in each tick
 */
function play (arrivals: readonly (readonly [n: number, at: number])[], ticks: number, { buffer = new JitterBuffer(), first = 0, payload = packet } = {}): string[] {
  const queue = [...arrivals].sort((a, b) => a[1] - b[1])
  const played: string[] = []
  for (let tick = 1; tick <= ticks; tick++) {
    const now = tick * 20
    while (queue.length > 0 && (queue[0] as [number, number])[1] < now) {
      const [n, at] = queue.shift() as [number, number]
      buffer.insert((first + n) & 0xffff, ((first + n) * 960) >>> 0, payload(n), at)
    }
    const playable = buffer.take(now, false)
    played.push(shown(playable))
    if (playable?.kind === 'packet' && playable.skip) buffer.take(now, false)
  }
  return played
}

const regular = (count: number, from = 0) => Array.from({ length: count }, (_, i) => [from + i, (from + i) * 20] as const)

t.test('buffers two packets, and plays each packet once, in order', async (t) => {
  t.same(play(regular(5), 8), ['-', '0', '1', '2', '3', '4', 'wait', 'wait'])
})

t.test('orders packets, even when their sequence numbers wrap around', async (t) => {
  const swapped = [[0, 0], [2, 20], [1, 30], [3, 60], [4, 80]] as const
  t.same(play(swapped, 6, { first: 65_534 }), ['-', '0', '1', '2', '3', '4'])
})

t.test('recovers or conceals lost packets without increasing the delay', async (t) => {
  const some = regular(10).filter(([n]) => n !== 3 && n !== 6 && n !== 7)
  t.same(play(some, 10), ['-', '0', '1', '2', 'fec', '4', '5', 'wait', 'fec', '8'])
})

t.test('waits for delayed packets, and becomes silent if no packet follows', async (t) => {
  const burst = [...regular(3), [3, 119], [4, 119], [5, 119], [6, 120], [7, 140]] as const
  t.same(play(burst, 11), ['-', '0', '1', '2', 'wait', '3', '4', '5', '6', '7', 'wait'])
  t.same(play(regular(1), 12), ['-', '0', 'wait', 'wait', 'wait', 'wait', 'wait', '-', '-', '-', '-', '-'])
})

t.test('stops waiting for a packet that does not arrive', async (t) => {
  const buffer = new JitterBuffer({ minMs: 120, maxMs: 120 })
  // The sender stops after a lost packet.
  const played = play([...regular(6), [7, 140]], 20, { buffer })
  t.same(played.slice(5, 17), ['0', '1', '2', '3', '4', '5', 'wait', 'wait', 'wait', 'wait', 'wait', 'fec'])
  t.same(played.slice(17), ['7', 'wait', 'wait'])
  t.equal(buffer.isIdle, false)
})

t.test('a pause of discontinuous transmission is silence, not loss', async (t) => {
  const speech = [[0, 0], [1, 20], [2, 40], [3, 1000], [4, 1020]] as const
  const played = play(speech, 54, { payload: (n) => n === 2 ? dtx : packet(n) })
  t.same(played.slice(0, 6), ['-', '0', '1', 'dtx', '-', '-'])
  t.same(played.slice(50), ['-', '3', '4', 'wait'])
})

t.test('late packets and duplicates are dropped', async (t) => {
  const buffer = new JitterBuffer()
  const insert = (n: number, at: number) => buffer.insert(n, n * 960, packet(n), at)
  t.equal(insert(0, 0), 'held')
  t.equal(insert(2, 20), 'held')
  t.equal(insert(2, 21), 'duplicate')
  t.equal(shown(buffer.take(40, false)), '0')
  t.equal(shown(buffer.take(60, false)), 'fec')
  t.equal(insert(1, 61), 'late')
  t.equal(shown(buffer.take(80, false)), '2')
  t.equal(buffer.insert(3, 0, new Uint8Array(0), 81), 'invalid', 'empty')
  t.equal(buffer.insert(3, 0, Uint8Array.of(0xff, 0xff), 81), 'invalid', 'longer than 120 ms')
})

t.test('follows a sender whose sequence numbers jump back and forth', async (t) => {
  const arrivals = [...regular(10), [300, 199] as const, ...regular(40, 10)]
  const played = play(arrivals, 49)
  t.same(played.slice(40), ['39', '40', '41', '42', '43', '44', '45', '46', '47'])
})

t.test('adapts the delay to the jitter, and shortens the delay when the jitter ends', async (t) => {
  const buffer = new JitterBuffer()
  let seed = 7
  const random = () => (seed = seed * 1_103_515_245 + 12_345 & 0x7fffffff) / 0x80000000
  const shaky = Array.from({ length: 500 }, (_, n) => [n, n * 20 + random() * 150] as const)
  const calm = regular(1500, 500)
  const played = play([...shaky, ...calm], 2000, { buffer })
  const share = (from: number, to: number) => played.slice(from, to).filter((what) => !/\d/.test(what)).length / (to - from)
  t.ok(share(100, 500) < 0.05, `${share(100, 500)} of the packets arrived too late`)
  t.equal(share(700, 1998), 0)
  t.equal(buffer.targetMs, 40)
  const skipped = played.filter((what) => what.endsWith('!')).length
  t.ok(skipped >= 3 && skipped <= 12, `${skipped} packets were skipped, one at a time`)
  t.same(played.slice(1990, 1994), [1989, 1990, 1991, 1992].map((n) => String(n & 0xff)), 'two packets are held again')
})

t.test('survives arbitrary packets in any order, with bounded memory and delay', async (t) => {
  let seed = 1
  const random = (max: number) => (seed = seed * 1_103_515_245 + 12_345 & 0x7fffffff) % max
  const buffer = new JitterBuffer()
  for (let now = 0; now < 200_000; now += 20) {
    for (let i = random(4); i > 0; i--) buffer.insert(random(3) === 0 ? random(65_536) : (now / 20 + random(40)) & 0xffff, random(2 ** 31), Uint8Array.of(random(256), random(256), 1), now)
    const playable = buffer.take(now, random(2) === 0)
    if (playable?.kind === 'lost' || playable?.kind === 'wait') t.ok(playable.samples >= 120 && playable.samples <= 5760)
  }
  t.ok(buffer.targetMs <= 120)
})
