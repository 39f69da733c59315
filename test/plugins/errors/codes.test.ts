import t from 'tap'
import { isCoded, unavailable } from '../../../plugins/errors/codes.ts'

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
