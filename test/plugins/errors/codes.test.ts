import createError from '@fastify/error'
import t from 'tap'
import { isCoded, toWire, unavailable, ValidationFailed } from '../../../plugins/errors/codes.ts'

t.test('an UNAVAILABLE error keeps its cause but does not mention it in the message', async (t) => {
  const plain = unavailable('The store is unreachable')
  t.match(plain, { message: 'The store is unreachable', code: 'UNAVAILABLE', statusCode: 503, details: { retryable: true } })
  t.equal(plain.cause, undefined)
  const cause = new Error('ECONNREFUSED')
  const caused = unavailable('The store is unreachable', cause)
  t.equal(caused.message, 'The store is unreachable')
  t.equal(caused.cause, cause)
  t.equal(isCoded(caused), true)
  t.equal(isCoded(cause), false)
})

t.test('an error code may contain digits', async (t) => {
  const TooLong = createError('WAVE2_TOO_LONG', 'Too long', 422)
  t.same(toWire(new TooLong()), { status: 422, wire: { code: 'WAVE2_TOO_LONG', message: 'Too long' } })
  for (const code of ['2WAVES', 'wave', 'FST_ERR_VALIDATION']) t.equal(isCoded(Object.assign(new Error('x'), { code, statusCode: 400 })), false, code)
})

t.test('VALIDATION_FAILED always has details', async (t) => {
  const details = [{ path: '', message: 'The body is too large' }]
  const ofFastify = Object.assign(new Error('The body is too large'), { code: 'FST_ERR_CTP_BODY_TOO_LARGE', statusCode: 413 })
  t.same(toWire(ofFastify), { status: 413, wire: { code: 'VALIDATION_FAILED', message: 'The body is too large', details } })
  t.same(toWire(new ValidationFailed('The body is too large')), { status: 400, wire: { code: 'VALIDATION_FAILED', message: 'The body is too large', details } })
})
