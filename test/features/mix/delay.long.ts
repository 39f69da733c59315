import wrtc from '@roamhq/wrtc'
import t from 'tap'
import { RoomClient } from '../../../client/index.ts'
import type { ReceiveMode } from '../../../client/index.ts'
import { build, tokenFor } from '../../support/build.ts'
import { until } from '../../support/retry.ts'
import '../../support/wrtc.ts'

// Measures the delay that the mix adds. The speaker sends a beep once per second. One listener receives the voice, and
// another receives the mix.

const { RTCAudioSink, RTCAudioSource } = wrtc.nonstandard
const beeps = Number(process.env.BEEPS ?? 100)
const loud = 3000
t.setTimeout((beeps + 60) * 1000)

t.test('the mix adds at most 100 ms', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,seats,mix', MEDIASOUP_WORKERS: '1' } })
  const enter = async (id: number, receive: ReceiveMode) => {
    const room = new RoomClient({ url: server.url, token: () => tokenFor(id), audio: { handlerName: 'Chrome111', receive } })
    t.teardown(() => room.close())
    await room.join('r1')
    return room
  }
  /**
   * Connects a listener.
   *
   * @returns a list of the start times of the beeps, measured with `performance.now`; the list grows with each beep
   */
  const listen = async (id: number, mode: ReceiveMode): Promise<number[]> => {
    const room = await enter(id, mode)
    await until(() => room.audio?.heard.length === 1)
    const sink = new RTCAudioSink(room.audio?.heard[0]?.track as MediaStreamTrack)
    t.teardown(() => sink.stop())
    const begun: number[] = []
    let silentSince = 0
    sink.ondata = ({ samples }: { samples: Int16Array }) => {
      const now = performance.now()
      if (!samples.some((sample) => Math.abs(sample) > loud)) return
      if (now - silentSince > 400) begun.push(now)
      silentSince = now
    }
    return begun
  }

  const source = new RTCAudioSource()
  const tone = Int16Array.from({ length: 480 }, (_, i) => 16_000 * Math.sin(2 * Math.PI * 500 * i / 48_000))
  const silence = new Int16Array(480)
  const sent: number[] = []
  let frame = 0
  const begin = performance.now()
  const timer = setInterval(() => {
    for (; performance.now() - begin >= frame * 10; frame++) {
      const inBeep = frame % 100 < 20
      if (frame % 100 === 0) sent.push(performance.now())
      source.onData({ samples: inBeep ? tone : silence, sampleRate: 48_000 })
    }
  }, 5)
  const track = source.createTrack()
  t.teardown(() => {
    clearInterval(timer)
    track.stop()
  })

  const speaker = await enter(1, false)
  await speaker.seats.takeFree()
  await speaker.audio?.publish(track)
  const [voices, mix] = await Promise.all([listen(2, 'voices'), listen(3, 'mix')])
  // Ignore the first seconds, while the jitter buffers adapt to the connection.
  await until(() => voices.length > 5 && mix.length > 5, 30_000)
  const from = performance.now() + 1000
  await until(() => performance.now() > from + beeps * 1000 + 1000, (beeps + 30) * 1000)

  const within = (list: readonly number[], at: number) => list.find((time) => time >= at && time < at + 900) ?? NaN
  const rounds = sent.filter((at) => at >= from).slice(0, beeps).map((at) => ({ voice: within(voices, at) - at, mix: within(mix, at) - at }))
  const sorted = (values: readonly number[]) => values.filter((value) => !Number.isNaN(value)).sort((a, b) => a - b)
  const at = (values: readonly number[], quantile: number) => Math.round(values[Math.ceil(values.length * quantile) - 1] ?? NaN)
  const [voice, total, added] = [sorted(rounds.map(({ voice }) => voice)), sorted(rounds.map(({ mix }) => mix)), sorted(rounds.map(({ voice, mix }) => mix - voice))] as [number[], number[], number[]]
  const text = (name: string, values: readonly number[]) => `${name}: median ${at(values, 0.5)} ms, p95 ${at(values, 0.95)} ms`
  t.comment(`${added.length} beeps. ${text('voice', voice)}. ${text('mix', total)}. ${text('added by the mix', added)}`)
  t.ok(added.length >= beeps * 0.95, `${added.length} beeps`)
  t.ok(at(added, 0.95) <= 100)
})
