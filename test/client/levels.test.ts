import t from 'tap'
import { Levels } from '../../client/levels.ts'

type Source = Partial<RTCRtpSynchronizationSource> & { timestamp: number }

function receiver (...sources: Source[]) {
  return {
    sources,
    getSynchronizationSources () {
      return this.sources.map((source) => ({ rtpTimestamp: 0, source: 1, ...source }))
    }
  }
}

t.test('returns the level of the newest packet', async (t) => {
  const levels = new Levels()
  t.equal(levels.of(receiver(), 0), 0, 'no packet has arrived')
  t.equal(levels.of(receiver({ timestamp: 5, audioLevel: 0.25 }), 0), 0.25)
  t.equal(levels.of(receiver({ timestamp: 5, audioLevel: 0.25 }, { timestamp: 9, audioLevel: 0.75 }), 0), 0.75)
  t.equal(levels.of(receiver({ timestamp: 5 }), 0), 0, 'a packet without a level')
  t.equal(levels.of(receiver({ timestamp: 5, audioLevel: 1.5 }), 0), 1)
})

t.test("returns 0 if there is no recent packet, regardless of the browser's clock", async (t) => {
  const levels = new Levels()
  for (const timestamp of [1_790_000_000_000, 12.5]) {
    const one = receiver({ timestamp, audioLevel: 0.5 })
    t.equal(levels.of(one, 1000), 0.5)
    t.equal(levels.of(one, 1300), 0.5)
    t.equal(levels.of(one, 1301), 0)
    t.equal(levels.of(one, 9000), 0)
    one.sources = [{ timestamp: timestamp + 20, audioLevel: 0.125 }]
    t.equal(levels.of(one, 9016), 0.125, 'the level returns with the next packet')
  }
})

t.test('tracks each receiver separately', async (t) => {
  const levels = new Levels()
  const [one, other] = [receiver({ timestamp: 1, audioLevel: 0.5 }), receiver({ timestamp: 1, audioLevel: 0.5 })]
  levels.of(one, 0)
  t.equal(levels.of(other, 1000), 0.5)
  t.equal(levels.of(one, 1000), 0)
})
