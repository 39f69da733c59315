import t from 'tap'
import { maxEnvelopeLength, readEnvelope } from '../../../features/laravel-bridge/envelope.ts'

const envelope = { event: 'balance.updated', user_id: 42, room_id: null, payload: { coins: 5 }, timestamp: '2026-01-01T00:00:00Z', correlation_id: 'c1' }
const read = (value: unknown) => readEnvelope(typeof value === 'string' ? value : JSON.stringify(value))

t.test('parses an envelope', async (t) => {
  t.same(read(envelope), { envelope: { event: 'balance.updated', userId: 42, userKey: '42', roomId: undefined, payload: { coins: 5 }, correlationId: 'c1' } })
  t.match(read({ ...envelope, user_id: '42', room_id: 7 }), { envelope: { userId: '42', userKey: '42', roomId: '7' } }, 'ids may be numbers or strings')
  t.match(read({ ...envelope, user_id: 0 }), { envelope: { userKey: '0' } })
  t.same(read({ event: 'config:invalidate' }), { envelope: { event: 'config:invalidate', userId: undefined, userKey: undefined, roomId: undefined, payload: {}, correlationId: undefined } })
  t.match(read({ ...envelope, correlation_id: '' }), { envelope: { correlationId: undefined } })
  t.match(read({ ...envelope, correlation_id: 7 }), { envelope: { correlationId: '7' } })
  for (const payload of [null, [], 'text', 5, { deep: { er: [1, null] } }]) t.strictSame((read({ ...envelope, payload }) as { envelope: { payload: unknown } }).envelope.payload, payload)
})

t.test('passes the payload on unchanged', async (t) => {
  for (const payload of ['{"id":12345678901234567890,"n":-1.5e3}', '[9007199254740993]', '{"a":"1234567890123456"}', '{"x":1234567890.123456}', '{"x":0.12345678901234567890}']) {
    const result = read(`{"event":"level.up","user_id":1,"room_id":9007199254740993,"payload":${payload},"correlation_id":9007199254740993}`)
    if ('problem' in result) return t.fail(result.problem)
    t.equal(JSON.stringify(result.envelope.payload).replace('-1500', '-1.5e3'), payload)
    t.match(result.envelope, { roomId: '9007199254740993', correlationId: '9007199254740993' })
  }
})

t.test('rejects invalid envelopes', async (t) => {
  const bad: unknown[] = [
    '', 'null', '7', '[]', '{', '"text"', '{"event":"x"', 'undefined', '{}',
    { ...envelope, event: '' }, { ...envelope, event: 7 }, { ...envelope, event: 'x'.repeat(129) },
    { ...envelope, user_id: '' }, { ...envelope, user_id: {} }, { ...envelope, user_id: true }, { ...envelope, room_id: [] }, { ...envelope, room_id: 'x'.repeat(129) },
    { ...envelope, correlation_id: {} }, { ...envelope, payload: 'x'.repeat(maxEnvelopeLength) }
  ]
  for (const value of bad) {
    const result = read(value)
    t.ok('problem' in result && result.problem !== '', JSON.stringify(value).slice(0, 60))
  }
  const secret = read({ ...envelope, user_id: { secret: 'a secret' }, payload: 'a secret' })
  t.notMatch(JSON.stringify(secret), /a secret/, 'the problem does not contain the content')
})
