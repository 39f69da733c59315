import t from 'tap'
import { dependentsOf, plan } from '../../../plugins/features/plan.ts'
import type { FeatureTarget } from '../../../plugins/features/plan.ts'

// The features to build and close to get from one state to another.

type State = Record<string, { on?: string[], version?: unknown }>
const targets = (state: State) => new Map(Object.entries(state).map(([name, { on = [], version = 1 }]): [string, FeatureTarget] => [name, { dependencies: on, version }]))
const isFeature = (name: string) => name !== 'kernel'
const planned = (running: State, desired: State) => {
  const { load, unload, refused } = plan(targets(running), targets(desired), isFeature)
  return { load, unload, refused: Object.fromEntries(refused) }
}

t.test('does nothing when what should run runs', async (t) => {
  const state = { a: { version: { config: { x: [1] }, reloads: 0 } }, b: { on: ['a', 'kernel'] } }
  t.strictSame(planned(state, structuredClone(state)), { load: [], unload: [], refused: {} })
})

t.test('loads each feature after those it depends on', async (t) => {
  t.strictSame(planned({}, { c: { on: ['b', 'kernel'] }, b: { on: ['a'] }, a: {} }), { load: ['a', 'b', 'c'], unload: [], refused: {} })
})

t.test('unloads each feature before those it depends on', async (t) => {
  t.strictSame(planned({ a: {}, b: { on: ['a'] }, c: { on: ['b'] }, d: {} }, { d: {} }), { load: [], unload: ['c', 'b', 'a'], refused: {} })
})

t.test('builds only what has changed, not its dependents', async (t) => {
  t.strictSame(planned({ a: {}, b: { on: ['a'] } }, { a: { version: 2 }, b: { on: ['a'] } }), { load: ['a'], unload: [], refused: {} })
})

t.test('keeps a feature that others need, by their names', async (t) => {
  t.strictSame(planned({ a: {}, b: { on: ['a'] }, c: { on: ['b'] } }, { c: { on: ['b'] } }), {
    load: [],
    unload: [],
    refused: { a: { because: 'in use', dependents: ['c', 'b'] }, b: { because: 'in use', dependents: ['c'] } }
  })
})

t.test('refuses a feature whose dependency does not run, and what needs it', async (t) => {
  t.strictSame(planned({}, { a: { on: ['off'] }, b: { on: ['a'] }, c: {} }), {
    load: ['c'],
    unload: [],
    refused: { a: { because: 'dependency', dependencies: ['off'] }, b: { because: 'dependency', dependencies: ['a'] } }
  })
})

t.test('refuses a feature whose dependency is unloaded', async (t) => {
  t.strictSame(planned({ a: {} }, { b: { on: ['a'] } }), { load: [], unload: ['a'], refused: { b: { because: 'dependency', dependencies: ['a'] } } })
})

t.test('refuses circles, also those that a new generation would close', async (t) => {
  t.strictSame(planned({}, { a: { on: ['a'] }, b: { on: ['c'] }, c: { on: ['b'] } }).refused, {
    a: { because: 'circular' }, b: { because: 'circular' }, c: { because: 'circular' }
  })
  t.strictSame(planned({ a: {}, b: { on: ['a'] } }, { a: { on: ['b'], version: 2 }, b: { on: ['a'] } }), { load: [], unload: [], refused: { a: { because: 'circular' } } })
})

t.test('finds dependents, direct and indirect, each before those it depends on', async (t) => {
  t.strictSame(dependentsOf('a', new Map([['a', []], ['b', ['a']], ['c', ['b', 'x']], ['d', []]])), ['c', 'b'])
})
