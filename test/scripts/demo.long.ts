import t from 'tap'
import { familyOf, lives, startDemo, ready } from '../support/demo.ts'
import { until } from '../support/retry.ts'

t.test('a demo killed after its talkers join leaves no processes behind', async (t) => {
  const killed = startDemo(t, ['--talkers', '3'])
  await ready(killed)
  const family = familyOf(killed.child.pid ?? 0)
  t.ok(family.length >= 4, 'the demo, the server, its workers, the talkers')
  killed.child.kill('SIGKILL')
  await until(() => !family.some(lives))
})

t.test('the demo ends on time, and a killed demo leaves no processes behind', async (t) => {
  const timed = startDemo(t, ['--talkers', '3', '--seconds', '0.1'])
  // The demo is killed while the server is starting.
  const early = startDemo(t, ['--talkers', '3'])
  const begun = await until(() => {
    const family = familyOf(early.child.pid ?? 0)
    return family.length > 1 && family
  })
  early.child.kill('SIGKILL')
  await until(() => !begun.some(lives))
  t.equal(await timed.exit, 0, timed.output())
  t.match(timed.output(), 'The demo ends in 0.1 seconds')
})
