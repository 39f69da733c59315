import { encode } from '@msgpack/msgpack'
import t from 'tap'
import { channelIdOf, decodeFrame, encodeFrame, plainText, textOf } from '../../../features/push-to-talk/frames.ts'
import { oggOpus, samplesOf } from '../../../features/push-to-talk/opus.ts'

t.test('decodes frames with five and six elements', async (t) => {
  const bin = new Uint8Array([1, 2])
  t.match(decodeFrame(encode([0, 3, 7, 5, bin])), { channelType: 0, messageType: 3, fromId: 7, toId: 5, payload: bin })
  t.match(decodeFrame(encode([1, 17, 'ada', 'bob', 'id', 'hi'])), { messageId: 'id', payload: 'hi' })
  t.match(decodeFrame(encode([0, 5, 7])), { toId: 0, payload: undefined }, 'a missing toId is 0')
  t.same(decodeFrame(encodeFrame({ channelType: 0, messageType: 1, fromId: 7, toId: 5, payload: undefined })), { channelType: 0, messageType: 1, fromId: 7, toId: 5, payload: null })
})

t.test('rejects bytes that are not a frame', async (t) => {
  for (const value of [null, 7, 'text', {}, [], [0], [2, 1, 7, 5, ''], [0, 28, 7, 5, ''], [0, 1.5, 7, 5], [0, '1', 7, 5], [0, 1, {}, 5, ''], [0, 1, 7, [5], ''], [0, 1, 7, 5, '', '', ''], [0, 1, 7, 'x'.repeat(129), '']]) {
    t.equal(decodeFrame(encode(value)), undefined, JSON.stringify(value))
  }
  t.equal(decodeFrame(new Uint8Array([0xc1])), undefined)
  t.equal(decodeFrame(new Uint8Array(encode([0, 1, 7, 5, 'x'])).subarray(0, 4)), undefined, 'a frame that is cut off')
  t.equal(decodeFrame(new Uint8Array(60_000).fill(0x91)), undefined, 'deep nesting')
  const nested = (depth: number) => new Uint8Array([0x95, 0, 17, 7, 5, ...new Uint8Array(depth).fill(0x91), 0xc0])
  t.equal(decodeFrame(nested(32)), undefined, 'a deep payload')
  t.match(decodeFrame(nested(31)), { toId: 5 })
  for (const id of [1.5, 2 ** 53, NaN, Infinity, 'a\0']) t.equal(decodeFrame(encode([0, 17, 7, id, 'hi'])), undefined, `the id ${JSON.stringify(id)}`)
  for (const payload of ['a\0', { 'a\0': 1 }, ['a\0']]) t.equal(decodeFrame(encode([0, 17, 7, 5, payload])), undefined, 'NUL in the payload')
  const surrogate = [0xed, 0xa0, 0x80]
  t.equal(decodeFrame(new Uint8Array([0x95, 0, 17, 7, 5, 0xa3, ...surrogate])), undefined, 'an unpaired surrogate in the payload')
  t.equal(decodeFrame(new Uint8Array([0x95, 0, 17, 7, 0xa3, ...surrogate, 0xc0])), undefined, 'an unpaired surrogate in an id')
})

t.test('extracts texts from payloads, and parses channel ids', async (t) => {
  t.equal(plainText('{"text":"hi"}'), 'hi')
  t.equal(plainText('hi'), 'hi')
  t.equal(plainText(Buffer.from('{"text":"hi"}')), 'hi')
  t.equal(plainText('null'), 'null')
  t.equal(textOf({ a: 1 }), '{"a":1}')
  t.same([channelIdOf('5'), channelIdOf('05'), channelIdOf('x')], [5, '05', 'x'])
})

t.test('determines the duration of Opus packets and writes Ogg files', async (t) => {
  t.equal(samplesOf(new Uint8Array([0xf8, 0xff, 0xfe])), 960)
  t.equal(samplesOf(new Uint8Array([0x18])), 2880, '60 ms of SILK')
  t.equal(samplesOf(new Uint8Array([0xfb, 3])), 2880, 'three frames of 20 ms')
  const file = oggOpus([new Uint8Array([0xf8, 0xff, 0xfe]), new Uint8Array(300).fill(0xf8)])
  t.equal(file.subarray(0, 4).toString(), 'OggS')
  t.equal(file.toString('latin1').split('OggS').length - 1, 4)
  t.equal(file.readBigUInt64LE(file.lastIndexOf('OggS') + 6), 1920n)
})
