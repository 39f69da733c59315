import { mock } from 'node:test'
import t from 'tap'
import { watchExpiry } from '../../../plugins/connections/expiry.ts'

const day = 86_400_000

t.test("a token's lifetime may exceed the maximum delay of a timer", async (t) => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'] })
  t.teardown(() => mock.timers.reset())
  const calls: unknown[] = []
  const expiresAt = 60 * day
  const expiry = watchExpiry({
    identity: { user: { id: 1, name: 'Ada', roles: [], profile: { userId: 1, id: 1, name: 'Ada' } }, expiresAt },
    send: (type, data) => calls.push([type, data]),
    close: (reason) => calls.push(reason)
  })
  mock.timers.tick(59 * day)
  t.strictSame(calls, [])
  mock.timers.tick(day - 60_000)
  t.strictSame(calls.splice(0), [['session:expiring', { expiresAt }]])
  expiry.restart()
  mock.timers.tick(59_999)
  t.strictSame(calls.splice(0), [['session:expiring', { expiresAt }]], 'the event is emitted again after a restart')
  mock.timers.tick(1)
  t.strictSame(calls.splice(0), ['TOKEN_EXPIRED'])
  expiry.stop()
})
