import { mock } from 'node:test'
import t from 'tap'
import { effectScope } from 'vue'
import { ApiError } from '../../../features/stage/pages/admin/api.ts'
import { usePoll } from '../../../features/stage/pages/admin/poll.ts'

// Replaces the browser APIs that the poll uses.
const page = Object.assign(new EventTarget(), { hidden: false })
const browser = new EventTarget()
Object.assign(globalThis, {
  document: page,
  addEventListener: browser.addEventListener.bind(browser),
  removeEventListener: browser.removeEventListener.bind(browser)
})
const show = (seen: boolean) => {
  page.hidden = !seen
  page.dispatchEvent(new Event('visibilitychange'))
}

/** Starts a poll with an interval of 2 s. The test itself must answer the poll's requests. */
function start () {
  mock.timers.enable({ apis: ['setTimeout'] })
  const requests: PromiseWithResolvers<number>[] = []
  let signal: AbortSignal | undefined
  const scope = effectScope()
  const poll = scope.run(() => usePoll(async (given) => {
    signal = given
    const look = Promise.withResolvers<number>()
    requests.push(look)
    return await look.promise
  }, 2000))
  if (!poll) throw new Error('the scope is over')
  const settle = () => new Promise(setImmediate)
  return {
    poll,
    requests,
    signal: () => signal,
    settle,
    async answer (value: number) { requests.at(-1)?.resolve(value); await settle() },
    async fail (error: Error) { requests.at(-1)?.reject(error); await settle() },
    wait: (ms: number) => { mock.timers.tick(ms) },
    stop: () => scope.stop(),
    end () {
      scope.stop()
      mock.timers.reset()
      page.hidden = false
    }
  }
}

t.test('polls one request at a time', async (t) => {
  const { poll, requests, answer, wait, settle, end } = start()
  t.equal(requests.length, 1, 'immediately')
  wait(60_000)
  t.equal(requests.length, 1, 'no poll starts during a request')
  await answer(7)
  t.equal(poll.data.value, 7)
  t.ok(poll.at.value > 0)
  wait(1999)
  t.equal(requests.length, 1)
  wait(1)
  t.equal(requests.length, 2)

  let over = 0
  for (const done of [poll.refresh(), poll.refresh()]) done.then(() => over++)
  t.equal(requests.length, 2, 'a request in flight may return old data')
  await answer(8)
  t.same([requests.length, over], [3, 0], 'both calls share one more request')
  await answer(9)
  t.same([poll.data.value, over], [9, 2])
  poll.refresh()
  t.equal(requests.length, 4, 'does not wait for the interval')
  await settle()
  end()
})

t.test('polls less often after failures', async (t) => {
  const { poll, requests, answer, fail, wait, end } = start()
  await answer(1)
  wait(2000)
  for (const ms of [4000, 8000, 16_000, 30_000, 30_000]) {
    const before = requests.length
    await fail(new ApiError('UNREACHABLE', 'nobody answers'))
    t.equal(poll.data.value, 1, 'the last data is kept')
    t.match(poll.error.value, { code: 'UNREACHABLE' })
    wait(ms - 1)
    t.equal(requests.length, before)
    wait(1)
    t.equal(requests.length, before + 1, `the next poll starts after ${ms} ms`)
  }
  await fail(new ApiError('RATE_LIMITED', 'too many', 429, { retryAfterMs: 45_000 }))
  const before = requests.length
  wait(44_999)
  t.equal(requests.length, before, 'waits for the time in Retry-After')
  wait(1)
  await answer(2)
  t.same([poll.data.value, poll.error.value], [2, undefined])
  wait(2000)
  t.equal(requests.length, before + 2, 'the usual interval applies again')
  end()
})

t.test('polls while the page is visible, and immediately when it becomes visible again', async (t) => {
  const { requests, answer, fail, wait, end } = start()
  show(false)
  await answer(1)
  wait(60_000)
  t.equal(requests.length, 1)
  show(true)
  t.equal(requests.length, 2)
  show(false)
  show(true)
  t.equal(requests.length, 2, 'only one poll continues')
  await fail(new Error('gone'))
  browser.dispatchEvent(new Event('online'))
  t.equal(requests.length, 3, 'a poll starts when the network returns')
  end()
})

t.test('a poll stops with its component', async (t) => {
  const { poll, requests, signal, answer, wait, stop, end } = start()
  stop()
  t.equal(signal()?.aborted, true)
  await answer(5)
  t.equal(poll.data.value, undefined)
  wait(60_000)
  show(false)
  show(true)
  browser.dispatchEvent(new Event('online'))
  t.equal(requests.length, 1)
  end()
})
