import t from 'tap'
import { dependentsOf, plan } from '../../../plugins/features/plan.ts'
import type { FeatureTarget } from '../../../plugins/features/plan.ts'

// Tests the plan, which lists the features to load and unload to reach the desired state.

type State = Record<string, { on?: string[], version?: unknown }>
const targets = (state: State) => new Map(Object.entries(state).map(([name, { on = [], version = 1 }]): [string, FeatureTarget] => [name, { dependencies: on, version }]))
const isFeature = (name: string) => name !== 'kernel'
const planned = (running: State, desired: State) => {
  const { load, unload, refused } = plan(targets(running), targets(desired), isFeature)
  return { load, unload, refused: Object.fromEntries(refused) }
}

t.test('plans nothing if the running features match the desired ones', async (t) => {
  const state = { a: { version: { config: { x: [1] }, reloads: 0 } }, b: { on: ['a', 'kernel'] } }
  t.strictSame(planned(state, structuredClone(state)), { load: [], unload: [], refused: {} })
})

t.test('loads each feature after its dependencies', async (t) => {
  t.strictSame(planned({}, { c: { on: ['b', 'kernel'] }, b: { on: ['a'] }, a: {} }), { load: ['a', 'b', 'c'], unload: [], refused: {} })
})

t.test('unloads each feature before its dependencies', async (t) => {
  t.strictSame(planned({ a: {}, b: { on: ['a'] }, c: { on: ['b'] }, d: {} }, { d: {} }), { load: [], unload: ['c', 'b', 'a'], refused: {} })
})

t.test('builds only changed features, not their dependents', async (t) => {
  t.strictSame(planned({ a: {}, b: { on: ['a'] } }, { a: { version: 2 }, b: { on: ['a'] } }), { load: ['a'], unload: [], refused: {} })
})

t.test('keeps a feature that others depend on, and lists the dependents', async (t) => {
  t.strictSame(planned({ a: {}, b: { on: ['a'] }, c: { on: ['b'] } }, { c: { on: ['b'] } }), {
    load: [],
    unload: [],
    refused: { a: { because: 'in use', dependents: ['c', 'b'] }, b: { because: 'in use', dependents: ['c'] } }
  })
})

t.test('rejects a feature whose dependency does not run, and all dependents of that feature', async (t) => {
  t.strictSame(planned({}, { a: { on: ['off'] }, b: { on: ['a'] }, c: {} }), {
    load: ['c'],
    unload: [],
    refused: { a: { because: 'dependency', dependencies: ['off'] }, b: { because: 'dependency', dependencies: ['a'] } }
  })
})

t.test('rejects a feature whose dependency is unloaded', async (t) => {
  t.strictSame(planned({ a: {} }, { b: { on: ['a'] } }), { load: [], unload: ['a'], refused: { b: { because: 'dependency', dependencies: ['a'] } } })
})

t.test('rejects circular dependencies, including those that a new instance would create', async (t) => {
  t.strictSame(planned({}, { a: { on: ['a'] }, b: { on: ['c'] }, c: { on: ['b'] } }).refused, {
    a: { because: 'circular' }, b: { because: 'circular' }, c: { because: 'circular' }
  })
  t.strictSame(planned({ a: {}, b: { on: ['a'] } }, { a: { on: ['b'], version: 2 }, b: { on: ['a'] } }), { load: [], unload: [], refused: { a: { because: 'circular' } } })
})

t.test('finds direct and indirect dependents, each before its dependencies', async (t) => {
  t.strictSame(dependentsOf('a', new Map([['a', []], ['b', ['a']], ['c', ['b', 'x']], ['d', []]])), ['c', 'b'])
})
