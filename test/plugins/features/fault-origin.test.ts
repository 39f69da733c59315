import t from 'tap'
import createError from '@fastify/error'
import { originInStack, originOf } from '../../../plugins/features/fault-origin.ts'

const features = [{ name: 'one', entry: '/srv/my features/one/index.ts' }, { name: 'two', entry: '/srv/my features/two/index.js' }]
const frame = (name: string) => `    at run (file:///srv/my%20features/${name}/lib/a.ts?gen=4&load=2:10:3)`
const withStack = (error: Error, ...frames: string[]) => Object.assign(error, { stack: [`${error.name}: ${error.message}`, ...frames].join('\n') })
const context = { feature: 'two', generation: 7, call: 'request two:go' }

t.test('finds the feature that is closest to the top of the stack', async (t) => {
  t.match(originInStack(`Error: x\n    at node:net:1:1\n${frame('one')}\n${frame('two')}`, features), { feature: 'one', generation: 4 })
  t.match(originInStack('Error: x\n    at f (/srv/my features/two/common.cjs:1:1)', features), { feature: 'two', generation: undefined })
  t.equal(originInStack('Error: cannot read /srv/my features/one/data\n    at node:fs:1:1', features), undefined, 'paths in the message are ignored')
  t.equal(originInStack('Error: x\n    at f (file:///srv/my%20features/onemore/index.ts:1:1)', features), undefined)
})

t.test('the stack takes precedence over the async context', async (t) => {
  const error = withStack(new Error('x'), frame('one'))
  t.match(originOf(error, 'exception', context, features), { feature: 'one', generation: 4, call: undefined })
  t.match(originOf(error, 'rejection', context, features), { feature: 'one' })
  t.match(originOf(withStack(new Error('x'), frame('two')), 'exception', context, features), { feature: 'two', generation: 4, call: 'request two:go' })
})

t.test('if the stack contains no feature, the async context determines the feature', async (t) => {
  for (const error of [withStack(new Error('x'), '    at node:net:1:1'), undefined, 'text', Object.assign(new Error('x'), { stack: 5 })]) {
    t.same(originOf(error, 'exception', context, features), context)
    t.equal(originOf(error, 'exception', undefined, features), undefined)
  }
})

t.test('an unhandled rejection with a code is attributed to the async context, not to the stack', async (t) => {
  const Refused = createError('REFUSED', 'no', 409)
  const error = withStack(new Refused(), frame('one'))
  t.same(originOf(error, 'rejection', context, features), context)
  t.match(originOf(error, 'rejection', undefined, features), { feature: 'one' })
})
