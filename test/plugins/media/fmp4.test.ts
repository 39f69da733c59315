import { createHash } from 'node:crypto'
import t from 'tap'
import { durationField, durationOffset, fragment, initSection } from 'flylive-audio-server/fmp4'

// The tests of the `broadcast` and `recording` features read these bytes with a demuxer. This test fails if a byte
// changes, because files written by earlier versions must stay readable, and players may hold segments from before a
// reload.

const digest = (data: Uint8Array) => `${data.length} ${createHash('sha256').update(data).digest('hex').slice(0, 32)}`
const frames = [10, 200, 3000].map((length, i) => ({ data: Uint8Array.from({ length }, (_, j) => (j * 7 + i) & 255), duration: 960 + i }))
const start = 2 ** 40 + 960

t.test('the bytes of segments do not change', async (t) => {
  t.equal(digest(initSection({ codec: 'aac', description: Uint8Array.of(0x11, 0x88) }, 'segments')), '599 dac4124aa7b87fe954d65d7e04e5319b')
  t.equal(digest(initSection({ codec: 'opus' }, 'segments')), '567 38253f732eaa31964a3341b34807b902')
  const part = fragment(2 ** 32 + 5, start, frames, 'segments')
  t.equal(digest(part), '3334 a0a8d114394cce2c7eb3cdcfb40c77cb')
  t.equal(part.buffer.byteLength, part.length, 'the part owns its memory, so that it can be transferred to another thread')
})

t.test('the bytes of files do not change', async (t) => {
  const init = initSection({ codec: 'opus' }, 'file')
  t.equal(digest(init), '584 c74e971d489af7d9f694edd439e8be80')
  t.equal(durationOffset(init), 544)
  t.equal(durationField(2 ** 33 + 7).readBigUInt64BE(), 2n ** 33n + 7n)
  t.equal(digest(fragment(7, start, frames, 'file')), '3330 eeae3f46940416ede9dc337738dbeb13')
})
