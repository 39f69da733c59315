import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { blockFor } from '../../support/block.ts'
import { afterReading, timeoutSignal, withTimeout } from '../../../plugins/errors/timeout.ts'

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

t.test('reads data that arrived while the process was blocked, before calling onTimeout', async (t) => {
  const worker = new Worker("require('node:worker_threads').parentPort.once('message', (message) => require('node:worker_threads').parentPort.postMessage(message))", { eval: true })
  t.teardown(async () => await worker.terminate())
  await once(worker, 'online')
  const reply = once(worker, 'message').then(() => 'in time')
  worker.postMessage('question')
  const result = withTimeout(reply, 20, () => 'late')
  blockFor(300)
  t.equal(await result, 'in time')
})

t.test('a signal aborts with a TimeoutError', async (t) => {
  const signal = timeoutSignal(1)
  t.notOk(signal.aborted)
  // The timeout does not keep the process running.
  const running = setInterval(() => {}, 1000)
  t.teardown(() => clearInterval(running))
  await once(signal, 'abort')
  t.match(signal.reason, { name: 'TimeoutError' })
})

t.test('does not call a cancelled function, even if its timeout has already passed', async (t) => {
  const called: string[] = []
  const cancel = afterReading(1, () => called.push('first'))
  const later = Promise.withResolvers<void>()
  // This timer runs in the same turn of the event loop, after the first timer and before the process reads its sockets.
  setTimeout(() => {
    cancel()
    setImmediate(later.resolve)
  }, 1)
  blockFor(20)
  await later.promise
  t.same(called, [])
})
