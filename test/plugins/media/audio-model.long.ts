import t from 'tap'
import { namespacesMissing } from '../../support/namespaces.ts'
import { runModel } from './audio-model.ts'

// MODEL_SECONDS sets the duration; MODEL_SEED determines the order of the changes. docs/measurements.md has the
// results.

const seconds = Number(process.env.MODEL_SECONDS ?? 600)
const seed = Number(process.env.MODEL_SEED ?? 1)

t.test('on three servers, every user hears exactly the users who are speaking', { skip: namespacesMissing() ?? false }, async (t) => {
  const { changes, violations } = await runModel(t, { seconds, users: 6, seed, inNamespaces: true })
  for (const [kind, { count, slowestMs }] of changes) t.comment(`| ${kind} | ${count} | ${slowestMs} ms |`)
  t.same(violations, [])
})
