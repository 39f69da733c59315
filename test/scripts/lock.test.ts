import t from 'tap'
// @ts-expect-error The set-up is plain JavaScript: it runs before anything is installed.
import { alone } from '../../scripts/setup/lock.mjs'

t.test('one set-up of a checkout at a time; another checkout does not wait', async (t) => {
  const order: string[] = []
  const gate = Promise.withResolvers<void>()
  const root = t.testdir({})
  const first = alone(root, async () => {
    order.push('first begins')
    await gate.promise
    order.push('first ends')
  })
  const second = alone(root, async () => { order.push('second') })
  await alone(`${root}-other`, async () => { order.push('other') })
  gate.resolve()
  await Promise.all([first, second])
  t.same(order, ['first begins', 'other', 'first ends', 'second'])
  await t.rejects(alone(root, async () => { throw new Error('broken') }), { message: 'broken' })
  await alone(root, async () => { order.push('free again') })
  t.equal(order.at(-1), 'free again')
})
