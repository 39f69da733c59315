import createError from '@fastify/error'
import type { Test } from 'tap'
import type { Cluster } from '../../plugins/cluster/messages.ts'
import { withDetails } from '../../plugins/errors/codes.ts'
import { stopwatch } from '../support/pace.ts'

declare module '../../plugins/cluster/messages.ts' {
  interface ClusterRequests {
    'test:double': { data: { n: number }, reply: { doubled: number } }
    'test:nothing': { data: null, reply: undefined }
  }
}

const Refused = createError('TEST_REFUSED', 'Number %s is refused', 409)

/**
 * Runs the tests that every implementation of server-to-server requests must pass.
 *
 * @param make returns the `Cluster` objects of the requesting server and the responding server, which may be the same
 *   server
 */
export function clusterRequestsContract (t: Test, make: (t: Test) => Promise<{ asker: Cluster, answerer: Cluster, answererId: string }>): void {
  t.test("a handler's return value is the response", async (t) => {
    const { asker, answerer, answererId } = await make(t)
    answerer.answer('test:double', ({ n }) => ({ doubled: n * 2 }))
    answerer.answer('test:nothing', async () => undefined)
    t.same(await asker.ask(answererId, 'test:double', { n: 21 }, 15_000), { doubled: 42 })
    t.equal(await asker.ask(answererId, 'test:nothing', null, 15_000), undefined)
    const replies = await Promise.all(Array.from({ length: 50 }, (_, n) => asker.ask(answererId, 'test:double', { n }, 15_000)))
    t.same(replies.map(({ doubled }) => doubled), Array.from({ length: 50 }, (_, n) => n * 2), 'each request gets its own reply')
  })

  t.test('replies may arrive in a different order than the requests', async (t) => {
    const { asker, answerer, answererId } = await make(t)
    const first = Promise.withResolvers<void>()
    answerer.answer('test:double', async ({ n }) => {
      if (n === 1) await first.promise
      return { doubled: n * 2 }
    })
    const slow = asker.ask(answererId, 'test:double', { n: 1 }, 15_000)
    t.same(await asker.ask(answererId, 'test:double', { n: 2 }, 15_000), { doubled: 4 })
    first.resolve()
    t.same(await slow, { doubled: 2 })
  })

  t.test('a request rejects with the error that the handler throws', async (t) => {
    const { asker, answerer, answererId } = await make(t)
    answerer.answer('test:double', ({ n }) => {
      if (n > 1) throw withDetails(new Refused(n), { highest: 1 })
      throw new Error('the password is 1234')
    })
    await t.rejects(asker.ask(answererId, 'test:double', { n: 2 }, 15_000), { code: 'TEST_REFUSED', message: 'Number 2 is refused', statusCode: 409, details: { highest: 1 } })
    const error = await asker.ask(answererId, 'test:double', { n: 1 }, 15_000).catch((error: unknown) => error)
    t.match(error, { code: 'INTERNAL' })
    t.notMatch((error as Error).message, /1234/, 'an error without a code reveals nothing')
  })

  t.test('rejects with UNAVAILABLE if there is no handler or the handler was removed', async (t) => {
    const { asker, answerer, answererId } = await make(t)
    await t.rejects(asker.ask(answererId, 'test:double', { n: 1 }, 15_000), { code: 'UNAVAILABLE', details: { retryable: true } })
    const off = answerer.answer('test:double', ({ n }) => ({ doubled: n }))
    const offNext = answerer.answer('test:double', ({ n }) => ({ doubled: n * 2 }))
    t.same(await asker.ask(answererId, 'test:double', { n: 3 }, 15_000), { doubled: 6 }, 'the latest handler runs')
    off()
    t.same(await asker.ask(answererId, 'test:double', { n: 3 }, 15_000), { doubled: 6 })
    offNext()
    await t.rejects(asker.ask(answererId, 'test:double', { n: 1 }, 15_000), { code: 'UNAVAILABLE' })
  })

  t.test('rejects with UNAVAILABLE after the timeout', async (t) => {
    const { asker, answerer, answererId } = await make(t)
    const never = Promise.withResolvers<never>()
    answerer.answer('test:double', () => never.promise)
    const passed = stopwatch()
    await t.rejects(asker.ask(answererId, 'test:double', { n: 1 }, 150), { code: 'UNAVAILABLE', message: /150 ms/ })
    t.ok(passed() < 2000)
  })

  t.test('rejects with UNAVAILABLE for an unknown server', async (t) => {
    const { asker } = await make(t)
    const passed = stopwatch()
    await t.rejects(asker.ask('node-x', 'test:double', { n: 1 }, 60_000), { code: 'UNAVAILABLE', message: /node-x/, isGone: true })
    t.ok(passed() < 5000, 'immediately')
  })
}
