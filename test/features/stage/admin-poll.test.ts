import { mock } from 'node:test'
import t from 'tap'
import { effectScope } from 'vue'
import { ApiError } from '../../../features/stage/pages/admin/api.ts'
import { usePoll } from '../../../features/stage/pages/admin/poll.ts'

// What the browser has, as far as it is needed here.
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

/** A poll every two seconds whose looks are ended by the test. */
function start () {
  mock.timers.enable({ apis: ['setTimeout'] })
  const looks: PromiseWithResolvers<number>[] = []
  let signal: AbortSignal | undefined
  const scope = effectScope()
  const poll = scope.run(() => usePoll(async (given) => {
    signal = given
    const look = Promise.withResolvers<number>()
    looks.push(look)
    return await look.promise
  }, 2000))
  if (!poll) throw new Error('the scope is over')
  /** Lets what was promised happen. */
  const settle = () => new Promise(setImmediate)
  return {
    poll,
    looks,
    signal: () => signal,
    settle,
    async answer (value: number) { looks.at(-1)?.resolve(value); await settle() },
    async fail (error: Error) { looks.at(-1)?.reject(error); await settle() },
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
  const { poll, looks, answer, wait, settle, end } = start()
  t.equal(looks.length, 1, 'at once')
  wait(60_000)
  t.equal(looks.length, 1, 'not while a look goes on')
  await answer(7)
  t.equal(poll.data.value, 7)
  t.ok(poll.at.value > 0)
  wait(1999)
  t.equal(looks.length, 1)
  wait(1)
  t.equal(looks.length, 2)

  let over = 0
  for (const done of [poll.refresh(), poll.refresh()]) done.then(() => over++)
  t.equal(looks.length, 2, 'a look that goes on may be too old')
  await answer(8)
  t.same([looks.length, over], [3, 0], 'one more, for both')
  await answer(9)
  t.same([poll.data.value, over], [9, 2])
  poll.refresh()
  t.equal(looks.length, 4, 'before it is time')
  await settle()
  end()
})

t.test('polls less often after failures', async (t) => {
  const { poll, looks, answer, fail, wait, end } = start()
  await answer(1)
  wait(2000)
  for (const ms of [4000, 8000, 16_000, 30_000, 30_000]) {
    const before = looks.length
    await fail(new ApiError('UNREACHABLE', 'nobody answers'))
    t.equal(poll.data.value, 1, 'what was seen is kept')
    t.match(poll.error.value, { code: 'UNREACHABLE' })
    wait(ms - 1)
    t.equal(looks.length, before)
    wait(1)
    t.equal(looks.length, before + 1, `after ${ms} ms`)
  }
  await fail(new ApiError('RATE_LIMITED', 'too many', 429, { retryAfterMs: 45_000 }))
  const before = looks.length
  wait(44_999)
  t.equal(looks.length, before, 'as the server wants it')
  wait(1)
  await answer(2)
  t.same([poll.data.value, poll.error.value], [2, undefined])
  wait(2000)
  t.equal(looks.length, before + 2, 'as before')
  end()
})

t.test('polls while visible, and immediately when visible again', async (t) => {
  const { looks, answer, fail, wait, end } = start()
  show(false)
  await answer(1)
  wait(60_000)
  t.equal(looks.length, 1)
  show(true)
  t.equal(looks.length, 2)
  show(false)
  show(true)
  t.equal(looks.length, 2, 'one goes on')
  await fail(new Error('gone'))
  browser.dispatchEvent(new Event('online'))
  t.equal(looks.length, 3, 'also when the network is back')
  end()
})

t.test('stops with its component', async (t) => {
  const { poll, looks, signal, answer, wait, stop, end } = start()
  stop()
  t.equal(signal()?.aborted, true)
  await answer(5)
  t.equal(poll.data.value, undefined)
  wait(60_000)
  show(false)
  show(true)
  browser.dispatchEvent(new Event('online'))
  t.equal(looks.length, 1)
  end()
})
