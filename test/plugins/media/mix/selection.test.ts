import t from 'tap'
import { Limiter } from '../../../../plugins/media/mix/limiter.ts'
import { LoudestVoices, silence, smoothed } from '../../../../plugins/media/mix/selection.ts'

interface TestVoice { name: string, loudness: number }
const names = (voices: ReadonlySet<TestVoice>) => [...voices].map(({ name }) => name).sort().join('')

t.test('selects the loudest voices', async (t) => {
  const voices = [['a', -30], ['b', -20], ['c', -40], ['d', -25], ['e', silence]] as const
  const all = new Set(voices.map(([name, loudness]) => ({ name, loudness })))
  t.equal(names(new LoudestVoices<TestVoice>(3).select(all)), 'abd')
  t.equal(names(new LoudestVoices<TestVoice>(10).select(all)), 'abcd', 'silent voices are left out')
})

t.test('a much louder voice replaces another immediately, a slightly louder one after a second', async (t) => {
  const [a, b, c] = [{ name: 'a', loudness: -30 }, { name: 'b', loudness: -28 }, { name: 'c', loudness: silence }]
  const all = new Set([a, b, c])
  const loudest = new LoudestVoices<TestVoice>(2)
  t.equal(names(loudest.select(all)), 'ab')
  c.loudness = -29
  for (let i = 0; i < 50; i++) t.equal(names(loudest.select(all)), 'ab')
  t.equal(names(loudest.select(all)), 'bc')
  a.loudness = -20
  t.equal(names(loudest.select(all)), 'ab')
  all.delete(b)
  t.equal(names(loudest.select(all)), 'ac', 'a voice that has left is replaced immediately')
})

t.test('levels rise within two packets and fall slowly', async (t) => {
  t.ok(smoothed(smoothed(silence, -20), -20) > -50)
  let level = -20
  for (let i = 0; i < 10; i++) level = smoothed(level, silence)
  t.ok(level > -50, 'a pause of 200 ms between words')
})

t.test('the limiter keeps quiet sums unchanged and loud ones within 16 bits', async (t) => {
  const limiter = new Limiter()
  const out = new Int16Array(960)
  const quiet = Float32Array.from({ length: 960 }, (_, i) => 20_000 * Math.sin(i / 10))
  limiter.process(quiet, 1, out)
  t.same([...out], [...Int16Array.from(quiet)])
  const loud = Float32Array.from({ length: 960 }, (_, i) => 90_000 * Math.sin(i / 10))
  limiter.process(loud, 1, out)
  t.ok(Math.max(...out.subarray(120)) <= 29_300)
  limiter.process(loud, 1, out)
  const errors = out.map((value, i) => Math.abs(value - (loud[i] as number) * 29_200 / 90_000))
  t.ok(Math.max(...errors) < 50, 'the wave keeps its shape')
  for (let i = 0; i < 100; i++) limiter.process(quiet, 1, out)
  t.same([...out], [...Int16Array.from(quiet)], 'the gain returns to 1')
})
