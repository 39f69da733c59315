import t from 'tap'
import { familyOf, lives, startDemo, ready } from '../support/demo.ts'
import { until } from '../support/retry.ts'

t.test('a killed demo leaves no processes behind after its talkers have joined', async (t) => {
  const killed = startDemo(t, ['--talkers', '3'])
  await ready(killed)
  const family = familyOf(killed.child.pid ?? 0)
  t.ok(family.length >= 4, 'the demo, the server, its workers, the talkers')
  killed.child.kill('SIGKILL')
  await until(() => !family.some(lives))
})
