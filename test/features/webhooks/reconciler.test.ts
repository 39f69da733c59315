import { mock } from 'node:test'
import t from 'tap'
import { createReconciler, sweepJob } from '../../../features/webhooks/reconciler.ts'

type Arguments = Parameters<typeof createReconciler>

t.test('schedules the sweep again every minute, in case Redis has lost it', async (t) => {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  const scheduled: unknown[][] = []
  const app = { clock: { now: () => 5000 }, jobs: { on () {}, async schedule (...job: unknown[]) { scheduled.push(job) } } }
  const reconciler = createReconciler(app as unknown as Arguments[0], ...[{}, {}, {}] as unknown as [Arguments[1], Arguments[2], Arguments[3]])
  reconciler.reviewAll(false)
  t.strictSame(scheduled.splice(0), [[sweepJob, 'counts', 5000]])
  mock.timers.tick(60_000)
  t.strictSame(scheduled.splice(0), [[sweepJob, 'counts', 65_000]])
  reconciler.close()
  mock.timers.tick(120_000)
  t.strictSame(scheduled, [])
})
