import t from 'tap'
import { RequestError } from '../../client/index.ts'
import type { Connection, ConnectionEvents } from '../../client/index.ts'
import { Emitter } from '../../client/emitter.ts'
import { Renewal } from '../../client/renewal.ts'

class Told extends Emitter<ConnectionEvents> {
  tell (type: 'feature:enabled' | 'feature:disabled', name: string) {
    this.emit(type, { name })
  }
}

/** Creates a renewal. The test supplies the result of each attempt: true, or an error code. */
function follow () {
  const told = new Told()
  const asked: string[][] = []
  const waiting: ((answer: true | string) => void)[] = []
  let next = Promise.withResolvers<void>()
  const renewal = new Renewal(told as unknown as Connection, {
    renew: async (features) => {
      asked.push([...features].sort())
      next.resolve()
      const answer = await new Promise<true | string>((resolve) => waiting.push(resolve))
      if (answer !== true) throw new RequestError({ code: answer, message: answer, details: { retryAfterMs: 1 } })
    },
    spreadMs: () => 0
  })
  return {
    told,
    renewal,
    asked,
    /** Waits for the next attempt and completes it. */
    async answer (answer: true | string) {
      await next.promise
      next = Promise.withResolvers()
      waiting.shift()?.(answer)
    }
  }
}

t.test('retries after a temporary error', async (t) => {
  const { told, renewal, asked, answer } = follow()
  renewal.begin()
  renewal.start()
  told.tell('feature:enabled', 'chat')
  await answer('UNAVAILABLE')
  await answer('RATE_LIMITED')
  await answer(true)
  t.same(asked, [['chat'], ['chat'], ['chat']])
})

t.test('queues features enabled during a request and drops disabled ones', async (t) => {
  const { told, renewal, asked, answer } = follow()
  renewal.begin()
  told.tell('feature:enabled', 'chat')
  told.tell('feature:disabled', 'media')
  t.equal(renewal.isOver('media'), true)
  t.equal(renewal.isOver('chat'), false)
  t.same(asked, [], 'no request before the join')
  renewal.start()
  const first = answer('UNAVAILABLE')
  await first
  told.tell('feature:disabled', 'chat')
  told.tell('feature:enabled', 'seats')
  await answer(true)
  t.same(asked, [['chat'], ['seats']])
})

t.test('does not retry a final rejection', async (t) => {
  const { told, renewal, asked, answer } = follow()
  renewal.begin()
  renewal.start()
  told.tell('feature:enabled', 'chat')
  await answer('BANNED')
  told.tell('feature:enabled', 'seats')
  await answer(true)
  renewal.stop()
  told.tell('feature:enabled', 'media')
  renewal.begin()
  renewal.start()
  told.tell('feature:enabled', 'gifts')
  await answer(true)
  t.same(asked, [['chat'], ['seats'], ['gifts']])
})
