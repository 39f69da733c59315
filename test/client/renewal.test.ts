import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { RequestError } from '../../client/index.ts'
import type { Connection, ConnectionEvents } from '../../client/index.ts'
import { Emitter } from '../../client/emitter.ts'
import { Renewal } from '../../client/renewal.ts'

class FakeConnection extends Emitter<ConnectionEvents> {
  announce (type: 'feature:enabled' | 'feature:disabled', name: string) {
    this.emit(type, { name })
  }
}

/**
 * Creates a `Renewal` (client/renewal.ts). The test determines the result of each renewal attempt: true, or an error
 * code.
 */
function follow () {
  const connection = new FakeConnection()
  const asked: string[][] = []
  const waiting: ((answer: true | string) => void)[] = []
  let next = Promise.withResolvers<void>()
  const renewal = new Renewal(connection as unknown as Connection, {
    renew: async (features) => {
      asked.push([...features].sort())
      next.resolve()
      const answer = await new Promise<true | string>((resolve) => waiting.push(resolve))
      if (answer !== true) throw new RequestError({ code: answer, message: answer, details: { retryAfterMs: 1 } })
    },
    spreadMs: () => 0
  })
  return {
    connection,
    renewal,
    asked,
    /** Waits for the next renewal attempt, and then ends that attempt with the given result. */
    async answer (answer: true | string) {
      await next.promise
      next = Promise.withResolvers()
      waiting.shift()?.(answer)
    }
  }
}

t.test('retries after a temporary error', async (t) => {
  const { connection, renewal, asked, answer } = follow()
  renewal.begin()
  renewal.start()
  connection.announce('feature:enabled', 'chat')
  await answer('UNAVAILABLE')
  await answer('RATE_LIMITED')
  await answer(true)
  t.same(asked, [['chat'], ['chat'], ['chat']])
})

t.test('queues features that are enabled during a request, and removes features that are disabled again', async (t) => {
  const { connection, renewal, asked, answer } = follow()
  renewal.begin()
  connection.announce('feature:enabled', 'chat')
  connection.announce('feature:disabled', 'media')
  t.equal(renewal.isOver('media'), true)
  t.equal(renewal.isOver('chat'), false)
  t.same(asked, [], 'no request before the join')
  renewal.start()
  const first = answer('UNAVAILABLE')
  await first
  connection.announce('feature:disabled', 'chat')
  connection.announce('feature:enabled', 'seats')
  await answer(true)
  t.same(asked, [['chat'], ['seats']])
})

t.test('does not retry a final rejection', async (t) => {
  const { connection, renewal, asked, answer } = follow()
  renewal.begin()
  renewal.start()
  connection.announce('feature:enabled', 'chat')
  await answer('BANNED')
  connection.announce('feature:enabled', 'seats')
  await answer(true)
  renewal.stop()
  connection.announce('feature:enabled', 'media')
  renewal.begin()
  renewal.start()
  connection.announce('feature:enabled', 'gifts')
  await answer(true)
  t.same(asked, [['chat'], ['seats'], ['gifts']])
})

t.test('joins again at least every 12 h if the join reply contains credentials', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const { renewal, asked, answer } = follow()
  const pass = async (hours: number) => {
    // Wait until the previous attempt has ended.
    await turn()
    mock.timers.tick(hours * 3_600_000)
    mock.timers.tick(1)
  }
  const credentials = { iceServers: [{ urls: ['turn:turn.example.com'], username: '1:1', credential: 'secret' }] }
  renewal.begin()
  renewal.start()
  renewal.received({ iceServers: [{ urls: ['stun:stun.example.com'] }] })
  await pass(24)
  t.same(asked, [], 'the join reply contains no credentials')
  for (const times of [1, 2]) {
    renewal.received(credentials)
    await pass(12)
    await answer(true)
    t.same(asked, Array.from({ length: times }, () => ['iceServers']))
  }
  renewal.received(credentials)
  renewal.stop()
  await pass(24)
  t.equal(asked.length, 2)
})
