import t from 'tap'
import { createInFlight, impatientMs, isLate } from '../../../plugins/dispatch/in-flight.ts'
import { until } from '../../support/retry.ts'

function supervised (deadlineMs: number) {
  const events: string[] = []
  const inFlight = createInFlight({
    deadlineMs,
    enter: (_call, code) => code(),
    failed: (call, error) => { events.push(`${call} failed: ${(error as Error).message}`) },
    late: (call, ms, again) => { events.push(`${call} late after ${ms}${again ? ', again' : ''}`) }
  })
  return { events, inFlight }
}

t.test('a call that exceeds its deadline fails with UNAVAILABLE and is no longer in flight', async (t) => {
  const { events, inFlight } = supervised(10)
  const held = Promise.withResolvers<void>()
  const error = await inFlight.run(() => held.promise, 'request a:b').catch((error: unknown) => error)
  t.match(error, { code: 'UNAVAILABLE', message: 'The request a:b did not finish within 0.01 s' })
  t.ok(isLate(error))
  t.equal(inFlight.running, 0)
  held.reject(new Error('too late'))
  await held.promise.catch(() => {})
  t.same(events, ['request a:b late after 10'], 'a later failure is ignored')
})

t.test('an `impatient` call has a shorter deadline while a call with the same name is overdue', async (t) => {
  const { events, inFlight } = supervised(100_000)
  const held = Promise.withResolvers<void>()
  const hang = () => inFlight.run(() => held.promise, 'hook h', { limitMs: 10, impatient: true })
  await t.rejects(hang(), { code: 'UNAVAILABLE' })
  const patient = inFlight.run(() => held.promise, 'hook other', { impatient: true })
  await t.rejects(inFlight.run(() => held.promise, 'hook h', { impatient: true }), { code: 'UNAVAILABLE' })
  t.same(events, ['hook h late after 10', `hook h late after ${impatientMs}, again`])
  held.resolve()
  await patient
  await until(() => inFlight.running === 0)
  const next = Promise.withResolvers<void>()
  const run = inFlight.run(() => next.promise, 'hook h', { impatient: true })
  t.same(inFlight.names, ['hook h'])
  next.resolve()
  await run
  await until(() => inFlight.running === 0)
})

t.test('reports failed and overdue calls, but not cancelled ones', async (t) => {
  const { events, inFlight } = supervised(20)
  t.throws(() => inFlight.run(() => { throw new Error('at once') }, 'job a'), 'at once')
  await t.rejects(inFlight.run(async () => { throw new Error('later') }, 'job b'), { message: 'later' })
  const cancelled = inFlight.run(() => new Promise(() => {}), 'job c')
  inFlight.end(new Error('reloaded'))
  await t.rejects(cancelled, { message: 'reloaded' })
  await t.rejects(inFlight.run(() => new Promise(() => {}), 'job d'), { code: 'UNAVAILABLE' })
  t.same(events, ['job a failed: at once', 'job b failed: later', 'job d late after 20'])
})
