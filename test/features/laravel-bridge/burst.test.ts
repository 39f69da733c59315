import t from 'tap'
import { createQueue } from '../../../features/laravel-bridge/queue.ts'
import { assertBurst } from './burst.ts'

t.test('delivers 2,000 simultaneous events in order while the server keeps responding', (t) => assertBurst(t, 2000))

t.test('the queue is bounded and processed in slices', async (t) => {
  const done: string[] = []
  const turns: number[] = []
  let turn = 0
  const queue = createQueue({
    maxItems: 1000,
    maxLength: 10_000,
    sliceMs: 1000,
    handle (text) {
      done.push(text)
      turns.push(turn)
    }
  })
  const taken = Array.from({ length: 3000 }, (_, i) => queue.push(String(i))).filter(Boolean).length
  t.equal(taken, 1000)
  t.equal(queue.size, 1000)
  const count = setInterval(() => {}, 1000)
  while (queue.size > 0) await new Promise((resolve) => setImmediate(() => resolve(++turn)))
  clearInterval(count)
  t.same(done, Array.from({ length: 1000 }, (_, i) => String(i)))
  t.ok(new Set(turns).size >= 5, 'the messages are handled in several turns of the event loop')
  t.ok(queue.push('x'.repeat(6000)))
  t.notOk(queue.push('x'.repeat(6000)), 'maxLength limits the total length')
  queue.close()
  t.equal(queue.size, 0)
  t.equal(done.at(-1)?.length, 6000, 'close() handles the queued messages')
  t.notOk(queue.push('late'))

  const slow: string[] = []
  const slices: number[] = []
  const slowQueue = createQueue({
    maxItems: 10_000,
    maxLength: 10_000_000,
    sliceMs: 2,
    handle (text) {
      const end = performance.now() + 1
      while (performance.now() < end) { /* Blocks the event loop. */ }
      slow.push(text)
    }
  })
  for (let i = 0; i < 20; i++) slowQueue.push(String(i))
  while (slowQueue.size > 0) {
    const before = slow.length
    await new Promise((resolve) => setImmediate(resolve))
    slices.push(slow.length - before)
  }
  t.equal(slow.length, 20)
  t.ok(Math.max(...slices) <= 6, `a slice ends after its time limit: ${slices.join(' ')}`)
})
