import t from 'tap'
import { withTimeout } from '../../../plugins/errors/timeout.ts'

const never = new Promise<never>(() => {})

t.test('returns the value of the promise', async (t) => {
  t.equal(await withTimeout(Promise.resolve('in time'), 60_000, () => 'late'), 'in time')
})

t.test('rejects with the error of the promise', async (t) => {
  await t.rejects(withTimeout(Promise.reject(new Error('it failed')), 60_000, () => 'late'), { message: 'it failed' })
})

t.test('returns the value of onTimeout after the timeout', async (t) => {
  t.equal(await withTimeout(never, 1, () => 'late'), 'late')
})

t.test('rejects with the error of onTimeout after the timeout', async (t) => {
  await t.rejects(withTimeout(never, 1, () => { throw new Error('too late') }), { message: 'too late' })
})

t.test('ignores a promise that rejects after the timeout', async (t) => {
  const { promise, reject } = Promise.withResolvers<never>()
  t.equal(await withTimeout(promise, 1, () => 'late'), 'late')
  reject(new Error('after the timeout'))
  await new Promise((resolve) => setImmediate(resolve))
})
